package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/handlers"
)

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
