package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

const (
	nodes         = 3
	warmUp        = 2 * time.Second // from every client's first connection to the first rotation
	rotationLimit = 2 * time.Minute // for one rotation to reach every node
	mostLines     = 5               // of each kind that explains a figure
	mostRotations = 10              // times the rotations asked for: the run's bound
)

// tlsfleetName is the contestant that has to lose nothing.
const tlsfleetName = "tlsfleet"

// scene is what a contestant plays on: nginx nodes not yet started, and a
// Consul of their own.
type scene struct {
	p      *lab.Program
	fleet  *lab.Fleet
	consul *testkit.ConsulServer
	splay  time.Duration

	ticketLife time.Duration // 0: as long as nginx lets clients resume

	binary string // tlsfleet
}

// contestant starts the scene's nodes with its ticket keys, in its way, and
// returns how to rotate them once. A rotation may return before the nodes have
// reloaded.
type contestant func(ctx context.Context, s *scene) (rotate func(context.Context) error, err error)

var contestants = map[string]contestant{
	"single-key": handlerContestant("single-key.sh", "current.key"),
	"two-key":    handlerContestant("two-key.sh", "current.key", "previous.key"),
	tlsfleetName: tlsfleet,
}

func newScene(p *lab.Program, o options) *scene {
	return &scene{
		p: p, splay: o.splay, ticketLife: o.ticketLife, binary: o.binary,
		consul: testkit.Consul(p),
		fleet:  lab.NewFleet(p, nodes),
	}
}

// measure prints the line of one contestant.
func measure(ctx context.Context, p *lab.Program, o options, name string) error {
	s := newScene(p, o)
	rotate, err := contestants[name](ctx, s)
	if err != nil {
		return err
	}
	if name != tlsfleetName {
		o.attempts = 0
	}
	var r record
	if err := s.underLoad(ctx, o, &r, func(ctx context.Context) error {
		return s.rotations(ctx, o, &r, rotate)
	}); err != nil {
		return err
	}
	all, window := r.all(), r.inWindows()
	fmt.Printf("bench=rotation who=%s rotations=%d attempts=%d lost=%d percent=%.2f window_attempts=%d window_percent=%.2f reloads_per_node_rotation=%.2f broken=%d\n",
		name, len(r.windows), all.Attempts, all.Lost, all.Percent(), window.Attempts, window.Percent(),
		float64(r.reloads)/float64(nodes*len(r.windows)), all.Broken)
	r.describe(p)
	complaints := s.fleet.Complaints()
	for _, line := range complaints[:min(len(complaints), mostLines)] {
		p.Logf("  of %d complaints of nginx: %s", len(complaints), line)
	}
	if name != tlsfleetName {
		return nil
	}
	return r.promises()
}

// underLoad calls do while clients come and go, from the time they all have a
// ticket.
func (s *scene) underLoad(ctx context.Context, o options, r *record, do func(context.Context) error) error {
	load := lab.Load{
		Dial: s.fleet.Bounce, Name: lab.ServerName, Roots: s.fleet.Roots,
		Rate: o.rate, Holders: o.holders, Hold: o.hold, Record: r.add,
	}
	loadCtx, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		load.Run(loadCtx)
	}()
	err := sleep(ctx, load.Ramp()+warmUp)
	if err == nil {
		r.begin()
		err = do(ctx)
	}
	stop()
	<-ended
	return err
}

// rotations rotates until both the rotations and the attempts asked for are
// done.
func (s *scene) rotations(ctx context.Context, o options, r *record, rotate func(context.Context) error) error {
	first, err := s.fleet.Reloads()
	if err != nil {
		return err
	}
	for n := 0; n < o.rotations || r.attempts() < o.attempts; n++ {
		if n >= o.rotations*mostRotations {
			return fmt.Errorf("rotate %d times: only %d attempts of %d", n, r.attempts(), o.attempts)
		}
		if err := s.rotateOnce(ctx, r, rotate); err != nil {
			return fmt.Errorf("rotation %d: %w", n+1, err)
		}
		if err := sleep(ctx, o.settle); err != nil {
			return err
		}
	}
	last, err := s.fleet.Reloads()
	if err != nil {
		return err
	}
	for i := range last {
		r.reloads += last[i] - first[i]
	}
	return nil
}

func (s *scene) rotateOnce(ctx context.Context, r *record, rotate func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, rotationLimit)
	defer cancel()
	before, err := s.fleet.Reloads()
	if err != nil {
		return err
	}
	w := span{from: time.Now()}
	done := make(chan error, 1)
	go func() { done <- rotate(ctx) }()
	w.to, err = s.fleet.AwaitReloads(ctx, before)
	if err := errors.Join(<-done, err); err != nil {
		return err
	}
	r.windows = append(r.windows, w)
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
