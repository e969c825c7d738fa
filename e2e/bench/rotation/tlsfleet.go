package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// tlsfleet is a real agent on each node, rotated by the command line, which
// waits for the proof.
func tlsfleet(ctx context.Context, s *scene) (func(context.Context) error, error) {
	s.fleet.Start(s.p)
	// The minimum interval is off: no operator rotates every few seconds.
	a, err := s.fleet.StartAgents(ctx, s.p, lab.AgentOptions{Binary: s.binary, Consul: s.consul.Addr, Splay: s.splay, TicketLife: s.ticketLife})
	if err != nil {
		return nil, err
	}
	return a.Rotate, nil
}

// prove prints how long a rotation takes without splay and without load, from
// the start of the command to its exit: proved on all nodes.
func prove(ctx context.Context, p *lab.Program, o options) error {
	o.splay = 0
	o.ticketLife = time.Second // nobody holds one, and fifty keys of an hour do not fit into a ring
	rotate, err := tlsfleet(ctx, newScene(p, o))
	if err != nil {
		return err
	}
	took := make([]time.Duration, o.proofs)
	for i := range took {
		start := time.Now()
		if err := rotate(ctx); err != nil {
			return fmt.Errorf("proved rotation %d: %w", i+1, err)
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	fmt.Printf("bench=proved who=%s p50_ms=%d p99_ms=%d n=%d\n", tlsfleetName,
		percentile(took, 50).Milliseconds(), percentile(took, 99).Milliseconds(), len(took))
	return nil
}

// percentile of sorted durations, by the nearest rank.
func percentile(sorted []time.Duration, p int) time.Duration {
	rank := (len(sorted)*p + 99) / 100
	return sorted[max(rank, 1)-1]
}
