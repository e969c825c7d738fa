package agent

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/tlsfleet/tlsfleet/renderer"
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

// mailbox holds the newest outcome of reading a record. A record is kept when
// an error follows it, so that losing contact never loses a change.
type mailbox[T any] struct {
	wake wake

	mu  sync.Mutex
	rec *T
	err error
}

func (m *mailbox[T]) put(rec T, err error) {
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
func (m *mailbox[T]) take() (*T, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rec := m.rec
	m.rec = nil
	return rec, m.err
}

// reloadRequest asks the follower for a release; several reasons given before
// it is taken become one.
type reloadRequest struct {
	wake wake

	mu      sync.Mutex
	reasons []string
}

func (q *reloadRequest) ask(reason string) {
	q.mu.Lock()
	if !slices.Contains(q.reasons, reason) {
		q.reasons = append(q.reasons, reason)
	}
	q.mu.Unlock()
	q.wake.give()
}

func (q *reloadRequest) take() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	reason := strings.Join(q.reasons, ", ")
	q.reasons = nil
	return reason
}

// blames collects the certificates that nginx refused releases for, until
// they are taken.
type blames struct {
	wake wake

	mu  sync.Mutex
	all renderer.Refusal
}

func (q *blames) put(r renderer.Refusal) {
	if len(r) == 0 {
		return
	}
	q.mu.Lock()
	if q.all == nil {
		q.all = renderer.Refusal{}
	}
	maps.Copy(q.all, r)
	q.mu.Unlock()
	q.wake.give()
}

func (q *blames) take() renderer.Refusal {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := q.all
	q.all = nil
	return all
}
