package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/consul"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// slotLockDelay is how long Consul keeps a slot from others after its holder's
// session was lost: what was begun with it may still be under way.
const slotLockDelay = 5 * time.Second

// slotSpread is how long a node waits at most before it reaches for a free slot,
// so that the others see it taken instead of writing to Consul too.
const slotSpread = 200 * time.Millisecond

// slotPace suits a wait that ends within seconds. The short query lets a Consul
// that hangs be noticed.
var slotPace = consul.Pace{
	Wait: 10 * time.Second, Grace: 5 * time.Second,
	MinRetry: 250 * time.Millisecond, MaxRetry: 2 * time.Second,
	Every: 250 * time.Millisecond, Burst: 8,
}

// SlotsLook is what a node that waits for a slot has seen.
type SlotsLook struct {
	Slots   int
	Holders []string // nodes, sorted
	Err     error    // why nothing was seen; the other fields are empty then
}

// Slot is one node's permission to reload nginx, until it is released.
type Slot struct {
	Unlimited bool // there is no limit: nothing is held

	store   *Store
	key     string
	session *consul.Session
}

// TakeSlot waits until fewer nodes hold slots than the limit allows and takes
// one, with a Consul session of its own of this TTL (at least session_ttl_min,
// 10 s), which the caller has to Keep. looked is told what each look has shown.
// The error is ErrDenied, or why ctx has ended; all else is waited out.
func (s *Store) TakeSlot(ctx context.Context, node string, ttl time.Duration, looked func(SlotsLook)) (*Slot, error) {
	if err := fleet.CheckName(node); err != nil {
		return nil, fmt.Errorf("take reload slot: node: %w", err)
	}
	watch, stop := context.WithCancel(ctx)
	defer stop()
	q := &slotQueue{store: s, node: node, ttl: ttl, looked: looked, stop: stop}
	slotPace.Watch(watch, q.look, q.failed)
	switch {
	case q.slot != nil:
		return q.slot, nil
	case q.err != nil:
		return nil, fmt.Errorf("take reload slot: %w", q.err)
	}
	return nil, fmt.Errorf("take reload slot: %w", context.Cause(ctx))
}

// Keep renews the slot's session until ctx ends; it returns consul.ErrLost if
// Consul no longer has it.
func (l *Slot) Keep(ctx context.Context) error {
	if l.Unlimited {
		<-ctx.Done()
		return nil
	}
	return l.session.Keep(ctx)
}

// Release gives the slot to others, within seconds and even if ctx has ended.
// An error means that Consul frees it, two TTLs and the lock delay later.
func (l *Slot) Release(ctx context.Context) error {
	if l.Unlimited {
		return nil
	}
	return l.store.releaseSlot(ctx, l.key, l.session.ID())
}

// releaseSlot gives a slot up without the lock delay that ending its session
// would bring, and then ends that.
func (s *Store) releaseSlot(ctx context.Context, key, session string) error {
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), slotFarewell)
	defer cancel()
	pair := &api.KVPair{Key: key, Session: session}
	_, _, err := s.client.KV().Release(pair, new(api.WriteOptions).WithContext(end))
	if err != nil {
		err = fmt.Errorf("release %s: %w", key, denied(err))
	}
	return consul.Also(err, consul.DestroySession(ctx, s.client, session))
}

// slotFarewell bounds giving a slot up.
const slotFarewell = 1500 * time.Millisecond

// FreeSlots gives back what an agent of this node's name took and left behind on
// the same Consul node when it was killed.
func (s *Store) FreeSlots(ctx context.Context, node string) error {
	q, cancel := read(ctx)
	defer cancel()
	t, _, err := s.slots(q)
	if err != nil {
		return err
	}
	for _, h := range t.held {
		if h.node != node {
			continue
		}
		self, err := s.consulNode(ctx)
		if err != nil {
			return err
		}
		entry, _, err := s.client.Session().Info(h.session, q)
		switch {
		case err != nil:
			return fmt.Errorf("look up session %s: %w", h.session, denied(err))
		case entry == nil || entry.Node != self:
			continue // gone already, or another host's
		}
		if err := s.releaseSlot(ctx, h.key, h.session); err != nil {
			return err
		}
	}
	return nil
}

// consulNode is the name of the local Consul agent's node.
func (s *Store) consulNode(ctx context.Context) (string, error) {
	var self struct{ Config struct{ NodeName string } }
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if _, err := s.client.Raw().Query("/v1/agent/self", &self, new(api.QueryOptions).WithContext(ctx)); err != nil {
		return "", fmt.Errorf("look at the Consul agent: %w", denied(err))
	}
	return self.Config.NodeName, nil
}

// ReloadSlots looks at who reloads now; no limit is 0 slots.
func (s *Store) ReloadSlots(ctx context.Context) (SlotsLook, error) {
	q, cancel := read(ctx)
	defer cancel()
	t, _, err := s.slots(q) //nolint:contextcheck // q has it
	if err != nil {
		return SlotsLook{}, err
	}
	look := SlotsLook{Slots: t.limit.Slots, Holders: t.holders()}
	if t.limit.All {
		look.Slots = 0
	}
	return look, nil
}

// slotTable is all slots at one moment.
type slotTable struct {
	limit      SlotLimit
	limitIndex uint64 // of its record; 0: there is none
	held       []heldSlot
}

type heldSlot struct {
	number             int
	key, node, session string
}

// slots reads the slots and their limit. A limit that cannot be read is one slot.
func (s *Store) slots(q *api.QueryOptions) (slotTable, *api.QueryMeta, error) {
	t := slotTable{limit: oneSlot}
	pairs, meta, err := s.client.KV().List(s.key(reloadPath), q)
	if err == nil {
		err = consul.Vouched(meta)
	}
	if err != nil {
		return t, nil, fmt.Errorf("list reload slots: %w", denied(err))
	}
	for _, pair := range pairs {
		if pair.Key == s.key(limitPath) {
			t.limitIndex = pair.ModifyIndex
			if l, err := s.openLimit(pair.Value); err == nil {
				t.limit = l
			} else {
				s.log.Warn("limit of reloads not usable, one node at a time", "err", err)
			}
			continue
		}
		n, err := strconv.Atoi(strings.TrimPrefix(pair.Key, s.key(slotsPath)))
		if err == nil && n >= 0 && pair.Session != "" {
			t.held = append(t.held, heldSlot{n, pair.Key, string(pair.Value), pair.Session})
		}
	}
	return t, meta, nil
}

// free are the numbers of the slots that may be taken. While a slot is held that
// the limit does not have any more, its holder has one of those that it has.
func (t slotTable) free() []int {
	taken := map[int]bool{}
	for _, h := range t.held {
		if h.number >= t.limit.Slots {
			return nil
		}
		taken[h.number] = true
	}
	var free []int
	for n := range t.limit.Slots {
		if !taken[n] {
			free = append(free, n)
		}
	}
	return free
}

// holders are the names of the nodes that hold slots, sorted.
func (t slotTable) holders() []string {
	var names []string
	for _, h := range t.held {
		if fleet.CheckName(h.node) == nil {
			names = append(names, h.node)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
