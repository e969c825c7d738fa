package agent

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/ticket"
	"github.com/tlsfleet/tlsfleet/handlers"
)

// Errors of a rotation that an operator asked for.
var (
	// ErrHeld means that nodes in service have not proved the ring in force,
	// so that a rotation could lose resumptions.
	ErrHeld = errors.New("not every node has proved the ring in force")
	// ErrUnproved means that the ring was changed, and not every node has
	// proved the change in time.
	ErrUnproved = errors.New("not every node has proved the new ring")
	// ErrWentBack means that Consul holds an older ring than the nodes do, as
	// after the restore of a snapshot: a leader that has the newer one writes
	// it again.
	ErrWentBack = errors.New("the ring in Consul is older than the one in force")
	// ErrRaced means that somebody else changed the ring at the same moment.
	ErrRaced = errors.New("the ring was changed by somebody else at the same moment")
)

// RotateRequest is what an operator asks for.
type RotateRequest struct {
	By        string         // who asks, for the record
	Emergency bool           // replace every key at once
	Key       fleet.Secret   // adopt this key; zero: none
	Wait      bool           // until every node has proved the result
	Progress  func(Progress) // told while waiting; may be nil
}

// Progress is how far a wait is.
type Progress struct {
	Epoch   uint64
	Goal    string // what is waited for
	All     []handlers.Standing
	Waiting []handlers.Standing
}

// A waiting operator looks at every news of the nodes, and in any case after
// poll, because nodes leave the catalog silently. News within settle are one.
const (
	poll   = time.Second
	settle = 20 * time.Millisecond
)

// Rotate changes the ring as asked and returns it. The error wraps ErrHeld,
// ErrRaced, ErrUnproved or the store's; with ErrHeld and ErrUnproved it names
// each node and why.
func (c *Console) Rotate(ctx context.Context, q RotateRequest) (fleet.Ring, error) {
	s, err := c.look(ctx)
	if err != nil && (!q.Emergency || !lostRing(err, s)) {
		return fleet.Ring{}, errNoRing(err)
	}
	if high := s.highest(); s.rec.Ring.Epoch < high && !q.Emergency {
		return fleet.Ring{}, fmt.Errorf("rotate ticket keys: %w: Consul has epoch %d, nodes have seen %d", ErrWentBack, s.rec.Ring.Epoch, high)
	}
	skipped := handlers.Names(handlers.Waiting(s.standings()))
	if q.Key.Len() == 0 && !q.Emergency {
		if s, skipped, err = c.gate(ctx, s, q); err != nil {
			return fleet.Ring{}, err
		}
	}
	next, err := c.change(s, q, skipped)
	if errors.Is(err, ticket.ErrAlreadyCurrent) || errors.Is(err, ticket.ErrAlreadyNext) {
		return s.rec.Ring, c.confirm(ctx, s.rec.Ring, q)
	}
	if err != nil {
		return fleet.Ring{}, err
	}
	if err := c.put(ctx, next, s.rec); err != nil {
		return fleet.Ring{}, err
	}
	return next, c.confirm(ctx, next, q)
}

// put writes a ring in the place of one that was read, which may have been sealed
// anew since.
func (c *Console) put(ctx context.Context, next fleet.Ring, over store.RingRecord) error {
	for {
		_, err := c.store.PutRing(ctx, next, over.Index, "")
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
		now, readErr := c.store.Ring(ctx)
		if readErr != nil {
			return fmt.Errorf("%w: %w", ErrRaced, err)
		}
		if now.Index == over.Index || !reflect.DeepEqual(now.Ring, over.Ring) {
			return fmt.Errorf("%w: it is epoch %d now (%s by %s)", ErrRaced, now.Ring.Epoch, now.Ring.Cause, now.Ring.By)
		}
		over = now
	}
}

// lostRing reports whether the ring in Consul is gone or unusable although the
// fleet had one: an emergency puts a new one in its place.
func lostRing(err error, s snapshot) bool {
	return errors.Is(err, store.ErrRecord) && s.rec.Index > 0 || errors.Is(err, store.ErrMissing) && s.highest() > 0
}

// confirm waits for the proofs if asked to.
func (c *Console) confirm(ctx context.Context, r fleet.Ring, q RotateRequest) error {
	if !q.Wait && !q.Emergency {
		return nil
	}
	return c.await(ctx, r, q)
}

// change makes the new ring.
func (c *Console) change(s snapshot, q RotateRequest, skipped []string) (fleet.Ring, error) {
	ch := ticket.Change{
		Now: time.Now().UTC(), By: q.By, Cause: fleet.CauseCLI, Keep: keep(c.cfg), KeepFor: keepFor(c.cfg),
		Skipped: skipped, MinEpoch: s.highest(),
	}
	switch {
	case q.Key.Len() > 0:
		ch.Cause, ch.Skipped = fleet.CauseAdopt, nil
		return ticket.Adopt(s.rec.Ring, q.Key, fleet.OriginFile, ch)
	case q.Emergency:
		ch.Cause = fleet.CauseEmergency
		if err := freshKeys(&ch, handlers.Create); err != nil {
			return fleet.Ring{}, err
		}
		if s.rec.Ring.Epoch == 0 {
			r, err := ticket.Create(ch)
			r.Emergency = true
			return r, err
		}
		return ticket.Emergency(s.rec.Ring, ch)
	default:
		if err := freshKeys(&ch, handlers.Rotate); err != nil {
			return fleet.Ring{}, err
		}
		return ticket.Rotate(s.rec.Ring, ch)
	}
}
