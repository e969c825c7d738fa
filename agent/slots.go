package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

const (
	slotTTL   = 10 * time.Second // Consul refuses less by default
	slotBlind = 20 * time.Second // without any answer of Consul: longer than one query blocks
	slotLong  = 30 * time.Second // a wait that the operator is told of
)

// How a wait for a slot ended; also the values of a metric's label.
const (
	slotTaken     = "taken"
	slotUnlimited = "unlimited"
	slotTimeout   = "timeout"
	slotNoConsul  = "no_consul"
	slotDenied    = "denied"
)

// Why a node reloads without a slot.
var (
	errSlotTimeout  = errors.New("no slot became free")
	errSlotNoConsul = errors.New("no contact with Consul")
)

// slots lets this node take its turn among those that reload nginx. It never
// keeps a reload back for good: without a slot a node reloads later, and at the
// same time as others.
type slots struct {
	log      hclog.Logger
	store    *store.Store
	node     string
	ttl      time.Duration
	patience time.Duration // for others, as long as Consul answers
	blind    time.Duration // for Consul
	problems *problems
	awaited  func(result string, d time.Duration)

	freed chan struct{} // closed when what an agent left that was killed is given back
	turns sync.WaitGroup
}

// turn is the wait for a slot, and then the slot, until it is over.
type turn struct {
	come chan struct{}      // closed when this node may reload
	over context.CancelFunc // ends the wait, or gives the slot back
}

// hasCome reports whether the node may reload.
func (t *turn) hasCome() bool {
	select {
	case <-t.come:
		return true
	default:
		return false
	}
}

// begin gives back what an agent of this node left that was killed: its nginx
// has been mended by now.
func (s *slots) begin(ctx context.Context) {
	s.freed = make(chan struct{})
	s.turns.Go(func() {
		defer close(s.freed)
		if err := s.store.FreeSlots(ctx, s.node); err != nil && ctx.Err() == nil {
			s.log.Debug("reload slots left by an agent before are not looked for", "err", err)
		}
	})
}

// end waits until every turn is given back. The context of all has ended.
func (s *slots) end() { s.turns.Wait() }

// ask begins a turn.
func (s *slots) ask(ctx context.Context) *turn {
	ctx, over := context.WithCancel(ctx)
	t := &turn{come: make(chan struct{}), over: over}
	s.turns.Go(func() { s.serve(ctx, t) })
	return t
}

// serve waits for a slot, says so, and keeps it until the turn is over.
func (s *slots) serve(ctx context.Context, t *turn) {
	select {
	case <-s.freed:
	case <-ctx.Done():
		return
	}
	began := time.Now()
	slot, err := s.take(ctx, began)
	if slot == nil && ctx.Err() != nil {
		s.problems.replace("slot")
		return
	}
	s.note(slot, err, time.Since(began))
	close(t.come)
	if slot == nil {
		return
	}
	if err := slot.Keep(ctx); err != nil && ctx.Err() == nil {
		s.log.Warn("reload slot lost while reloading", "err", err)
	}
	<-ctx.Done()
	if err := slot.Release(ctx); err != nil {
		s.log.Warn("reload slot not released, Consul frees it", "err", err)
	}
}

// take waits for a slot within bounds; the error says which one was reached.
func (s *slots) take(ctx context.Context, began time.Time) (*store.Slot, error) {
	limited, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	patience := time.AfterFunc(s.patience, func() { stop(errSlotTimeout) })
	defer patience.Stop()
	blind := time.AfterFunc(s.blind, func() { stop(errSlotNoConsul) })
	defer blind.Stop()
	return s.store.TakeSlot(limited, s.node, s.ttl, func(l store.SlotsLook) {
		if l.Err == nil {
			blind.Reset(s.blind)
		}
		s.seen(l, time.Since(began))
	})
}

// seen tells of a wait that lasts.
func (s *slots) seen(l store.SlotsLook, waited time.Duration) {
	s.log.Debug("waiting for a reload slot", "slots", l.Slots, "holders", l.Holders, "err", l.Err)
	if waited < slotLong {
		return
	}
	message := fmt.Sprintf("a reload waits for one of %d slots, held by %s", l.Slots, strings.Join(l.Holders, ", "))
	if l.Err != nil {
		message = "a reload waits for a slot: " + l.Err.Error()
	}
	s.problems.replace("slot", fleet.Problem{
		Code: "reload-awaits-slot", Severity: fleet.Warning, Message: message,
		Hint: "look why those nodes take so long to reload; or raise reload.max_share on the nodes that may lead",
	})
}

// note tells how a wait has ended.
func (s *slots) note(slot *store.Slot, err error, took time.Duration) {
	result, hint := slotTaken, ""
	switch {
	case slot != nil && slot.Unlimited:
		result = slotUnlimited
	case slot != nil:
	case errors.Is(err, errSlotTimeout):
		result, hint = slotTimeout, "look why other nodes take so long to reload; or raise reload.max_share or reload.slot_wait"
	case errors.Is(err, store.ErrDenied):
		result, hint = slotDenied, "give the node's token the rules that tlsfleet policy prints"
	default:
		result, hint = slotNoConsul, "nodes without Consul are kept apart by reload.splay only"
	}
	s.awaited(result, took)
	if slot != nil {
		s.problems.replace("slot")
		s.log.Debug("reload slot taken", "took", took)
		return
	}
	s.log.Warn("reloading without a slot", "reason", result, "took", took, "err", err)
	s.problems.replace("slot", fleet.Problem{
		Code: "reload-without-slot", Severity: fleet.Warning, Message: "nginx was reloaded although others may have reloaded theirs: " + err.Error(), Hint: hint,
	})
}
