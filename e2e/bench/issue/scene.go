package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// scene is one contestant's run and the CA that it has for itself.
type scene struct {
	p        *lab.Program
	o        options
	parallel int
	names    []string
	ca       *testkit.PebbleServer

	mu   sync.Mutex
	took []time.Duration
	all  time.Duration // from begin to end
	cpu  time.Duration // of the contestant
	used time.Duration // of the CA
}

// measure has a contestant obtain all its names and prints its figure.
func measure(ctx context.Context, p *lab.Program, o options, f figure) (figure, error) {
	o.certs = o.most(f.who, f.parallel)
	err := staged(ctx, p, o, f.parallel, f.reject, func(ctx context.Context, s *scene) error {
		if err := contestants[f.who](ctx, s); err != nil {
			return fmt.Errorf("%s with %d in parallel: %w", f.who, f.parallel, err)
		}
		f.certs, f.took, f.all, f.cpu, f.ca = len(s.took), s.took, s.all, s.cpu, s.used
		if c := s.ca.Counts(s.p); c.Certificates != o.certs || f.certs != o.certs {
			return fmt.Errorf("%d certificates obtained, the CA has made %d: want %d of both", f.certs, c.Certificates, o.certs)
		}
		fmt.Println(f)
		return nil
	})
	return f, err
}

// How often a scene is set anew because its CA got stuck, and how long a CA that
// is busy may take to answer.
const (
	mostStuck = 10
	stuckTime = 5 * time.Second
)

// staged plays in a scene. If the CA gets stuck, whoever asks it, nothing is
// shown, and all begins anew with another.
func staged(ctx context.Context, p *lab.Program, o options, parallel, reject int, play func(ctx context.Context, s *scene) error) error {
	for n := 1; ; n++ {
		again := false
		err := p.Sub(ctx, "scene", func(ctx context.Context, p *lab.Program) error {
			s := &scene{p: p, o: o, parallel: parallel, names: domains(o.certs)}
			s.ca = testkit.Pebble(p, testkit.PebbleOptions{HTTPPort: testkit.FreePort(p, "127.0.0.1"), NonceReject: reject})
			ctx, cancel := context.WithCancelCause(ctx)
			var watch sync.WaitGroup
			watch.Go(func() { s.watch(ctx, cancel) })
			err := play(ctx, s)
			again = n < mostStuck && errors.Is(context.Cause(ctx), testkit.ErrStuck)
			cancel(nil)
			watch.Wait()
			if again {
				p.Logf("Pebble locked itself out, beginning anew")
				return nil
			}
			return err
		})
		if !again || err != nil {
			return err
		}
	}
}

// watch ends ctx when the CA is stuck.
func (s *scene) watch(ctx context.Context, stuck context.CancelCauseFunc) {
	tick := time.NewTicker(stuckTime / 5)
	defer tick.Stop()
	for {
		if err := s.ca.Stuck(ctx, stuckTime); err != nil {
			stuck(err)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func domains(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("n%d.test", i)
	}
	return names
}

// begin is when the measured time begins, and with it the process pid, whose CPU
// time is the contestant's.
func (s *scene) begin(pid int) (end func() error, _ error) {
	own, err := lab.CPUTime(pid)
	if err != nil {
		return nil, err
	}
	ca, err := lab.CPUTime(s.ca.PID)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	return func() error {
		s.all = time.Since(began)
		ownNow, err := lab.CPUTime(pid)
		if err != nil {
			return err
		}
		caNow, err := lab.CPUTime(s.ca.PID)
		s.cpu, s.used = ownNow-own, caNow-ca
		return err
	}, nil
}

// record takes the time of one certificate.
func (s *scene) record(took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.took = append(s.took, took)
}
