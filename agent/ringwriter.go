package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/ticket"
	"github.com/tlsfleet/tlsfleet/handlers"
)

// carryOut does what was decided. A ring that somebody else has just changed
// is looked at again soon, but not at once: a leader that may not see the ring
// meets it with every write. Anything else is told and tried again later.
func (l *lead) carryOut(ctx context.Context, session string, d handlers.Decision, rec store.RingRecord, now time.Time) (time.Duration, error) {
	err := l.do(ctx, session, d, rec, now)
	switch {
	case err == nil:
		return 0, nil
	case errors.Is(err, store.ErrConflict):
		return lookRaced, err
	case ctx.Err() == nil:
		l.problems.replace("leader", fleet.Problem{Code: "ring-unchanged", Severity: fleet.Alarm, Message: err.Error()})
	}
	return lookWaiting, err
}

// do makes the new ring and writes it.
func (l *lead) do(ctx context.Context, session string, d handlers.Decision, rec store.RingRecord, now time.Time) error {
	c := ticket.Change{
		Now: now, By: l.node, Cause: d.Cause, Keep: l.keep, KeepFor: l.keepFor,
		Skipped: d.Skipped, Events: d.Events, MinEpoch: d.MinEpoch,
	}
	next, err := l.change(d, rec.Ring, c)
	if err != nil {
		return err
	}
	if len(d.Skipped) > 0 {
		l.log.Error("rotating past nodes that have not proved the ring", "node", d.Skipped, "policy", "proceed")
	}
	if _, err := l.store.PutRing(ctx, next, rec.Index, session); err != nil {
		return fmt.Errorf("%s ring: %w", d.Do, err)
	}
	l.hub.settle(&next, d.Events...)
	l.log.Info("ring changed", "epoch", next.Epoch, "cause", string(next.Cause), "key", next.Current.Name().String())
	return nil
}

func (l *lead) change(d handlers.Decision, r fleet.Ring, c ticket.Change) (fleet.Ring, error) {
	if d.Do == handlers.Republish {
		return *d.Ring, nil
	}
	if d.Do == handlers.Adopt {
		return ticket.Adopt(r, d.Request.Key, fleet.OriginEvent, c)
	}
	if err := freshKeys(&c, d.Do); err != nil {
		return fleet.Ring{}, err
	}
	if d.Do == handlers.Create {
		return ticket.Create(c)
	}
	return ticket.Rotate(r, c)
}

// freshKeys gives a change the keys that it needs: two for a new ring, else one.
func freshKeys(c *ticket.Change, do handlers.Action) error {
	n := 1
	if do == handlers.Create {
		n = 2
	}
	for range n {
		k, err := ticket.NewKey(rand.Reader, c.Now)
		if err != nil {
			return err
		}
		c.Fresh = append(c.Fresh, k)
	}
	return nil
}
