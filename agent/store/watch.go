package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/consul"
)

// WatchRing calls fn with the ring, each time it may be new and each time
// contact comes back, and with errors, once for each change of state:
// ErrMissing, ErrRecord, or any other, which means that there is no contact.
// With ErrRecord the record has its Index and Sealed. An older ring than before
// is passed on like any other. It returns nil when ctx ends, and nothing else.
func (s *Store) WatchRing(ctx context.Context, fn func(RingRecord, error)) error {
	watch(ctx, s.pace, s.getRing, fn)
	return nil
}

// headRest is longer than a fleet takes to follow one change, which all nodes
// fetch at the same moment.
const headRest = 200 * time.Millisecond

// WatchHead is WatchRing for the inventory's head. Of changes that are
// closer than headRest only the last is passed on.
func (s *Store) WatchHead(ctx context.Context, fn func(HeadRecord, error)) error {
	pace := s.pace
	pace.Rest = headRest
	watch(ctx, pace, s.getHead, fn)
	return nil
}

// record is one that a watch follows.
type record interface {
	version() version
}

// version tells two records under one key apart.
type version struct {
	index  uint64
	sealed []byte
}

func (v version) equal(o version) bool { return v.index == o.index && bytes.Equal(v.sealed, o.sealed) }

// watch follows one key. get returns no metadata if Consul gave no usable
// answer.
func watch[R record](ctx context.Context, pace consul.Pace, get func(*api.QueryOptions) (R, *api.QueryMeta, error), fn func(R, error)) {
	var state string
	var last version
	see := func(rec R, err error) {
		now := stateOf(err)
		if now == state && rec.version().equal(last) {
			return
		}
		state, last = now, rec.version()
		fn(rec, err)
	}
	read := func(q *api.QueryOptions) (*api.QueryMeta, error) {
		rec, meta, err := get(q)
		if meta == nil {
			return nil, err
		}
		see(rec, err)
		return meta, nil
	}
	pace.Watch(ctx, read, func(err error) {
		var none R
		see(none, err)
	})
}

// stateOf tells apart the errors that a caller is told of separately.
func stateOf(err error) string {
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
