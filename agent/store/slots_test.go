package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// How long Consul waits for a holder that does not keep its session.
const (
	slotTTL   = time.Minute // longer than any test
	deathTime = time.Second // as short as Consul takes it here
)

// slotWorld is a fleet with a leader that says how many slots there are.
type slotWorld struct {
	world
	session string
}

func newSlotWorld(t *testing.T, slots int) slotWorld {
	t.Helper()
	w := slotWorld{world: shared(t)}
	w.session = w.lead(t, "leader")
	w.limit(t, store.SlotLimit{Slots: slots})
	return w
}

func (w slotWorld) limit(t *testing.T, l store.SlotLimit) {
	t.Helper()
	if err := w.PutSlotLimit(t.Context(), l, w.session); err != nil {
		t.Fatal(err)
	}
}

// take is TakeSlot for a slot that must come.
func (w world) take(t *testing.T, node string) *store.Slot {
	t.Helper()
	return w.takeFor(t, node, slotTTL)
}

func (w world) takeFor(t *testing.T, node string, ttl time.Duration) *store.Slot {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	s, err := w.TakeSlot(ctx, node, ttl, func(store.SlotsLook) {})
	if err != nil {
		t.Fatalf("TakeSlot(%s) = %v, want a slot", node, err)
	}
	return s
}

func (w world) release(t *testing.T, s *store.Slot) {
	t.Helper()
	if err := s.Release(t.Context()); err != nil {
		t.Errorf("Release() = %v, want nil", err)
	}
}

// wants waits in the background for a slot; looks brings who holds them.
type wants struct {
	slot  chan *store.Slot
	looks chan store.SlotsLook
}

func (w world) want(t *testing.T, node string) wants {
	t.Helper()
	x := wants{make(chan *store.Slot, 1), make(chan store.SlotsLook, 1000)}
	ctx, cancel := context.WithCancel(t.Context())
	var end sync.WaitGroup
	t.Cleanup(func() { cancel(); end.Wait() })
	end.Go(func() {
		s, err := w.TakeSlot(ctx, node, slotTTL, func(l store.SlotsLook) { x.looks <- l })
		if err == nil {
			x.slot <- s
		}
	})
	return x
}

// waits returns when the node has seen these holders and waits for them.
func (x wants) waits(t *testing.T, slots int, holders ...string) {
	t.Helper()
	for {
		select {
		case l := <-x.looks:
			if l.Slots == slots && slices.Equal(l.Holders, holders) {
				return
			}
		case <-x.slot:
			t.Fatalf("TakeSlot() gave a slot, want it to wait for %d slots held by %v", slots, holders)
		case <-time.After(soon):
			t.Fatalf("TakeSlot() did not see %d slots held by %v", slots, holders)
		}
	}
}

// gets returns the slot that must come.
func (x wants) gets(t *testing.T, when string) *store.Slot {
	t.Helper()
	select {
	case s := <-x.slot:
		return s
	case <-time.After(soon):
		t.Fatalf("no slot %s", when)
		return nil
	}
}

func TestSlotsAreNeverHeldByMoreThanTheLimit(t *testing.T) {
	t.Parallel()
	const limit, nodes, turns = 2, 6, 4
	w := newSlotWorld(t, limit)
	var mu sync.Mutex
	var now, most, all int
	count := func(d int) {
		mu.Lock()
		defer mu.Unlock()
		now += d
		most = max(most, now)
		all += max(d, 0)
	}
	var work sync.WaitGroup
	for i := range nodes {
		work.Go(func() {
			for range turns {
				s, err := w.TakeSlot(t.Context(), fmt.Sprintf("n%d", i), slotTTL, func(store.SlotsLook) {})
				if err != nil {
					t.Errorf("TakeSlot() = %v", err)
					return
				}
				count(1)
				if _, err := w.Leader(t.Context()); err != nil { // as long as a request
					t.Error(err)
				}
				count(-1)
				if err := s.Release(t.Context()); err != nil {
					t.Errorf("Release() = %v", err)
				}
			}
		})
	}
	work.Wait()
	if most > limit || all != nodes*turns {
		t.Errorf("%d slots held at once, %d taken; want at most %d, and %d", most, all, limit, nodes*turns)
	}
}

func TestSlotOfDeadHolderIsFreed(t *testing.T) {
	t.Parallel()
	w := newSlotWorld(t, 1)
	w.takeFor(t, "dead", deathTime) // nobody keeps its session
	next := w.want(t, "next")
	w.release(t, next.gets(t, "after its holder's session ended"))
}

// TestLostSlotIsHeldBack ends the session of a holder that is at work: nobody gets
// its slot at once.
func TestLostSlotIsHeldBack(t *testing.T) {
	t.Parallel()
	w := newSlotWorld(t, 1)
	s := w.take(t, "one")
	pair, _, err := w.client.KV().Get(w.key("reload/slots/0"), nil)
	if err != nil || pair == nil || string(pair.Value) != "one" {
		t.Fatalf("slot 0 = %v, %v, want it to name its holder", pair, err)
	}
	next := w.want(t, "next")
	next.waits(t, 1, "one")
	w.destroy(t, pair.Session)
	lost := time.Now()
	if err := s.Keep(t.Context()); err == nil {
		t.Error("Keep() = nil, want the loss of the session")
	}
	w.release(t, next.gets(t, "after the lock delay"))
	if took := time.Since(lost); took < 4*time.Second {
		t.Errorf("the lost slot was taken after %s, want the lock delay to pass", took)
	}
}

func TestChangedLimitOfSlots(t *testing.T) {
	t.Parallel()
	w := newSlotWorld(t, 1)
	first := w.take(t, "a")
	b, c := w.want(t, "b"), w.want(t, "c")
	b.waits(t, 1, "a")
	c.waits(t, 1, "a")
	w.limit(t, store.SlotLimit{Slots: 3})
	second, third := b.gets(t, "after the limit was raised"), c.gets(t, "after the limit was raised")

	w.limit(t, store.SlotLimit{Slots: 1})
	d := w.want(t, "d")
	d.waits(t, 1, "a", "b", "c")
	w.release(t, first)
	d.waits(t, 1, "b", "c") // though slot 0 is free
	w.release(t, second)
	d.waits(t, 1, "c")
	w.release(t, third)
	w.release(t, d.gets(t, "when the others were done"))

	held := w.take(t, "a")
	e := w.want(t, "e")
	e.waits(t, 1, "a")
	w.limit(t, store.SlotLimit{Slots: 1, All: true})
	if s := e.gets(t, "after the limit was lifted"); !s.Unlimited {
		t.Error("a slot was taken without a limit, want none")
	}
	w.release(t, held)
}

// TestSlotsWithoutUsableLimit has one slot while no leader has spoken, or
// somebody without the keyring has.
func TestSlotsWithoutUsableLimit(t *testing.T) {
	t.Parallel()
	for name, record := range map[string][]byte{"none": nil, "forged": []byte(`{"schema":1,"slots":99}`)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := shared(t)
			if record != nil {
				w.put(t, "reload/limit", record)
			}
			s := w.take(t, "one")
			two := w.want(t, "two")
			two.waits(t, 1, "one")
			w.release(t, s)
			w.release(t, two.gets(t, "after the first was released"))
		})
	}
}

func TestPutSlotLimit(t *testing.T) {
	t.Parallel()
	w := newSlotWorld(t, 2)
	before := w.index(t, "reload/limit")
	w.limit(t, store.SlotLimit{Slots: 2})
	if after := w.index(t, "reload/limit"); after != before {
		t.Errorf("PutSlotLimit() wrote at index %d what was there at %d, want no write", after, before)
	}
	w.put(t, "reload/limit", []byte("spoiled"))
	w.limit(t, store.SlotLimit{Slots: 2})
	s := [2]*store.Slot{w.take(t, "one"), w.take(t, "two")}
	w.release(t, s[0])
	w.release(t, s[1])
	w.destroy(t, w.session)
	if err := w.PutSlotLimit(t.Context(), store.SlotLimit{Slots: 9}, w.session); !errors.Is(err, store.ErrFenced) {
		t.Errorf("PutSlotLimit() without the lock = %v, want %v", err, store.ErrFenced)
	}
}

func TestFreeSlotsGivesBackTheOwnOnly(t *testing.T) {
	t.Parallel()
	w := newSlotWorld(t, 2)
	w.take(t, "killed")
	other := w.want(t, "other").gets(t, "while one is free")
	next := w.want(t, "next")
	next.waits(t, 2, "killed", "other")
	if err := w.FreeSlots(t.Context(), "killed"); err != nil {
		t.Fatalf("FreeSlots() = %v", err)
	}
	w.release(t, next.gets(t, "after the agent came back"))
	pair, _, err := w.client.KV().List(w.key("reload/slots/"), nil)
	if err != nil || !slices.ContainsFunc(pair, func(p *api.KVPair) bool { return p.Session != "" && string(p.Value) == "other" }) {
		t.Errorf("slots after FreeSlots() = %v, %v, want that of the other node untouched", pair, err)
	}
	w.release(t, other)
}

func TestTakeSlotEndsWhenDenied(t *testing.T) {
	t.Parallel()
	w := shared(t)
	proxy := testkit.FaultProxy(t, w.addr)
	proxy.Set(testkit.Rule{Path: "/v1/kv/", Fault: testkit.Status(403)})
	_, err := w.at(t, proxy.Addr, "").TakeSlot(t.Context(), "one", slotTTL, func(store.SlotsLook) {})
	if !errors.Is(err, store.ErrDenied) {
		t.Errorf("TakeSlot() = %v, want %v", err, store.ErrDenied)
	}
}

func TestTakeSlotEndsWithItsContext(t *testing.T) {
	t.Parallel()
	w := newSlotWorld(t, 1)
	s := w.take(t, "one")
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := errors.New("enough")
	_, err := w.TakeSlot(ctx, "two", slotTTL, func(store.SlotsLook) { cancel(ended) })
	if !errors.Is(err, ended) {
		t.Errorf("TakeSlot() = %v, want %v", err, ended)
	}
	w.release(t, s)
}
