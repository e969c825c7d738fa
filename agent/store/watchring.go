package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/consul"
)

// WatchRing calls fn with the ring, each time it may be new and each time
// contact comes back, and with errors, once for each change of state:
// ErrMissing, ErrRecord, or any other, which means that there is no contact.
// With ErrRecord the record has its Index and Sealed. An older ring than before
// is passed on like any other. It returns nil when ctx ends, and nothing else.
func (s *Store) WatchRing(ctx context.Context, fn func(RingRecord, error)) error {
	w := ringWatch{fn: fn}
	read := func(q *api.QueryOptions) (*api.QueryMeta, error) {
		rec, meta, err := s.getRing(q)
		if meta == nil {
			return nil, err
		}
		w.see(rec, err)
		return meta, nil
	}
	s.pace.Watch(ctx, read, func(err error) { w.see(RingRecord{}, err) })
	return nil
}

// ringWatch remembers what it said last.
type ringWatch struct {
	fn    func(RingRecord, error)
	state string
	last  RingRecord
}

func (w *ringWatch) see(rec RingRecord, err error) {
	state := ringState(err)
	if state == w.state && rec.Index == w.last.Index && bytes.Equal(rec.Sealed, w.last.Sealed) {
		return
	}
	w.state, w.last = state, rec
	w.fn(rec, err)
}

// ringState tells apart the errors that a caller is told of separately.
func ringState(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrMissing):
		return "missing"
	case errors.Is(err, ErrRecord):
		return "refused"
	}
	return fmt.Sprintf("no contact %d", consul.Status(err))
}
