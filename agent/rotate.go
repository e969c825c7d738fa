package agent

import (
	"context"
	"errors"
	"fmt"
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
	if _, err := c.store.PutRing(ctx, next, s.rec.Index, ""); err != nil {
		return fleet.Ring{}, c.raced(ctx, err)
	}
	return next, c.confirm(ctx, next, q)
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

// gate waits, if asked to, until the ring in force is proved, and returns the
// look at which it was, with the nodes that policy passes over.
func (c *Console) gate(ctx context.Context, s snapshot, q RotateRequest) (snapshot, []string, error) {
	n := c.listen(ctx)
	defer n.stop()
	for {
		all := s.standings()
		waiting := handlers.Waiting(all)
		if len(s.nodes) == 0 {
			return s, nil, fmt.Errorf("rotate ticket keys: %w: Consul's catalog lists no node", ErrHeld)
		}
		skipped, ok := handlers.Gate(waiting, s.rec.Ring.Changed, time.Now(), rules(c.cfg))
		if ok {
			return s, skipped, nil
		}
		held := fmt.Errorf("rotate ticket keys: %w (epoch %d): %s", ErrHeld, s.rec.Ring.Epoch, handlers.Describe(waiting))
		if !q.Wait {
			return s, nil, held
		}
		tell(q, Progress{Epoch: s.rec.Ring.Epoch, Goal: "prove the ring in force", All: all, Waiting: waiting})
		if !n.pause(ctx) {
			return s, nil, held
		}
		next, err := c.look(ctx)
		if err != nil {
			return s, nil, errors.Join(held, err)
		}
		s = next
	}
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

// raced explains a conflict by who won.
func (c *Console) raced(ctx context.Context, err error) error {
	if !errors.Is(err, store.ErrConflict) {
		return err
	}
	rec, readErr := c.store.Ring(ctx)
	if readErr != nil {
		return fmt.Errorf("%w: %w", ErrRaced, err)
	}
	return fmt.Errorf("%w: it is epoch %d now (%s by %s)", ErrRaced, rec.Ring.Epoch, rec.Ring.Cause, rec.Ring.By)
}

// await waits until every node in service has proved the ring, or a later
// one, and until an adopted key seals.
func (c *Console) await(ctx context.Context, want fleet.Ring, q RotateRequest) error {
	last := fmt.Errorf("%w (epoch %d): Consul has not answered", ErrUnproved, want.Epoch)
	n := c.listen(ctx)
	defer n.stop()
	for {
		s, err := c.look(ctx)
		if err == nil {
			r := s.rec.Ring
			all := s.standings()
			p := Progress{Epoch: r.Epoch, Goal: "prove the new ring", All: all, Waiting: handlers.Waiting(all)}
			adopting := want.Promote && r.Next.Name() == want.Next.Name()
			if r.Epoch >= want.Epoch && len(p.Waiting) == 0 && !adopting {
				tell(q, p)
				return nil
			}
			last = fmt.Errorf("%w (epoch %d): %s", ErrUnproved, r.Epoch, handlers.Describe(p.Waiting))
			if len(p.Waiting) == 0 && adopting {
				p.Goal = "let the leader promote the key"
				last = fmt.Errorf("%w: the leader has not promoted the key %s yet", ErrUnproved, want.Next.Name())
			}
			tell(q, p)
		}
		if err != nil && ctx.Err() == nil {
			last = fmt.Errorf("%w (epoch %d): %w", ErrUnproved, want.Epoch, err)
		}
		if !n.pause(ctx) {
			return last
		}
	}
}

func tell(q RotateRequest, p Progress) {
	if q.Progress != nil {
		q.Progress(p)
	}
}

// news tells when a node has reported.
type news struct {
	wake wake
	stop func()
}

// listen follows the reports until stop is called.
func (c *Console) listen(ctx context.Context) news {
	ctx, cancel := context.WithCancel(ctx)
	n := news{wake: newWake()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := c.store.WatchReports(ctx, func([]fleet.Report, []store.BadReport) { n.wake.give() })
		if err != nil && ctx.Err() == nil {
			n.wake.give() // the looks will meet the same error and tell it
		}
	}()
	n.stop = func() { cancel(); <-done }
	return n
}

// pause waits for the next look and says whether ctx still runs.
func (n news) pause(ctx context.Context) bool {
	t := time.NewTimer(poll)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	case <-n.wake:
	}
	t.Reset(settle)
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
