package agent

import (
	"sync"

	"github.com/tlsfleet/tlsfleet/agent/store"
)

// wake is a signal that many may give and one waits for: giving it twice
// before it is taken counts once.
type wake chan struct{}

func newWake() wake { return make(wake, 1) }

func (w wake) give() {
	select {
	case w <- struct{}{}:
	default:
	}
}

// mailbox holds the newest outcome of reading the ring. A record is kept when
// an error follows it, so that losing contact never loses a change.
type mailbox struct {
	wake wake

	mu  sync.Mutex
	rec *store.RingRecord
	err error
}

func (m *mailbox) put(rec store.RingRecord, err error) {
	m.mu.Lock()
	m.err = err
	if err == nil {
		m.rec = &rec
	}
	m.mu.Unlock()
	m.wake.give()
}

// take returns the record that came since the last take, if any, and whether
// the last read went wrong.
func (m *mailbox) take() (*store.RingRecord, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rec := m.rec
	m.rec = nil
	return rec, m.err
}
