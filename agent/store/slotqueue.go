package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/consul"
)

// errSlotRefused means that a slot which looked free was not: somebody was
// faster, or its lock delay still runs.
var errSlotRefused = errors.New("the free slot was refused")

// slotQueue is one node's wait for a slot. The slots are taken in no order: each
// that becomes free goes to whichever node's random pause is the shortest.
type slotQueue struct {
	store  *Store
	node   string
	ttl    time.Duration
	looked func(SlotsLook)
	stop   context.CancelFunc

	slot *Slot // the end of the wait
	err  error // or this one
}

// look is one blocking query, and a try if it shows a free slot.
func (q *slotQueue) look(opts *api.QueryOptions) (*api.QueryMeta, error) {
	t, meta, err := q.store.slots(opts)
	if err != nil {
		return nil, err
	}
	if q.unlimited(t) {
		return meta, nil
	}
	q.looked(SlotsLook{Slots: t.limit.Slots, Holders: t.holders()})
	if len(t.free()) == 0 {
		return meta, nil
	}
	ctx := opts.Context()
	if len(t.held) > 0 { // others may wait as well
		consul.Pause(ctx, rand.N(slotSpread)) //nolint:gosec // spreads load, guards nothing
		if t, _, err = q.store.slots(new(api.QueryOptions).WithContext(ctx)); err != nil {
			return nil, err
		}
	}
	free := t.free()
	if len(free) == 0 || q.unlimited(t) {
		return meta, nil
	}
	if err := q.take(ctx, t, free[rand.IntN(len(free))]); err != nil { //nolint:gosec // spreads load, guards nothing
		return nil, err
	}
	return meta, nil
}

func (q *slotQueue) unlimited(t slotTable) bool {
	if t.limit.All {
		q.slot = &Slot{Unlimited: true}
		q.stop()
	}
	return t.limit.All
}

// take reaches for one slot.
func (q *slotQueue) take(ctx context.Context, t slotTable, number int) error {
	session, err := consul.OpenSession(ctx, q.store.client, consul.SessionOptions{
		Name: "tlsfleet " + q.store.fleet + " reload " + q.node, TTL: q.ttl, Behavior: api.SessionBehaviorDelete, LockDelay: slotLockDelay,
	})
	if err != nil {
		return denied(err)
	}
	l := &Slot{store: q.store, key: q.store.key(slotPath(number)), session: session}
	limit := &api.KVTxnOp{Verb: api.KVCheckIndex, Key: q.store.key(limitPath), Index: t.limitIndex}
	if t.limitIndex == 0 {
		limit = &api.KVTxnOp{Verb: api.KVCheckNotExists, Key: q.store.key(limitPath)}
	}
	lock := &api.KVTxnOp{Verb: api.KVLock, Key: l.key, Value: []byte(q.node), Session: session.ID()}
	_, err = q.store.commit(ctx, api.TxnOps{{KV: limit}, {KV: lock}})
	switch {
	case err == nil:
		q.slot = l
		q.stop()
		return nil
	case errors.Is(err, ErrConflict):
		err = fmt.Errorf("%w: %w", errSlotRefused, err)
		return consul.Also(err, session.Destroy(ctx))
	}
	// It may have been taken.
	return consul.Also(fmt.Errorf("lock %s: %w", l.key, denied(err)), l.Release(ctx))
}

// failed is told of each look without an answer, and of each refused try.
func (q *slotQueue) failed(err error) {
	switch {
	case errors.Is(err, errSlotRefused):
		q.store.log.Debug("reload slot not taken", "err", err)
	case errors.Is(err, ErrDenied):
		q.err = err
		q.stop()
	default:
		q.looked(SlotsLook{Err: err})
	}
}
