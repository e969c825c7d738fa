package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

const (
	startLimit  = 3 * time.Minute // for all nodes to have all certificates
	changeLimit = 30 * time.Second
	look        = time.Second
)

// figure is how long it took, of all nodes and changes.
type figure struct {
	watchers int
	took     []time.Duration // sorted
	agent    time.Duration   // CPU of one node for one change, with what comes after the files
	consul   time.Duration   // that of Consul for one node and change
}

func (f figure) at(percent int) time.Duration {
	return f.took[max((len(f.took)*percent+99)/100, 1)-1]
}

// String is the figure's line.
func (f figure) String() string {
	return fmt.Sprintf("bench=fanout who=tlsfleet watchers=%d p50_ms=%.1f p99_ms=%.1f cpu_us=%d consul_us=%d n=%d", f.watchers,
		float64(f.at(50))/float64(time.Millisecond), float64(f.at(99))/float64(time.Millisecond), f.agent.Microseconds(), f.consul.Microseconds(), len(f.took))
}

// measure starts the nodes and makes the changes.
func measure(ctx context.Context, p *lab.Program, o options) (figure, error) {
	server := testkit.Consul(p, testkit.ConsulDev())
	s, err := newSource(p, server.Addr)
	if err != nil {
		return figure{}, err
	}
	all := map[string]fleet.Hash{}
	for i := range o.names {
		name := fmt.Sprintf("n%d.test", i)
		if all[name], err = s.change(ctx, name); err != nil {
			return figure{}, err
		}
	}
	nodes, err := startNodes(ctx, p, o, server.Addr, s)
	if err != nil {
		return figure{}, err
	}
	for name, hash := range all {
		if _, err := nodes.await(ctx, startLimit, name, hash); err != nil {
			return figure{}, fmt.Errorf("wait for the first certificates: %w", err)
		}
	}
	f := figure{watchers: o.watchers}
	var spent cpu
	for round := range o.rounds + 1 {
		if err := pause(ctx, o.pause); err != nil {
			return f, err
		}
		if round == 1 {
			if spent, err = cpuNow(server.PID()); err != nil {
				return f, err
			}
			if o.profile != "" {
				stop, err := profile(o.profile)
				if err != nil {
					return f, err
				}
				defer stop()
			}
		}
		name := fmt.Sprintf("n%d.test", round%o.names)
		hash, err := s.change(ctx, name)
		if err != nil {
			return f, err
		}
		took, err := nodes.await(ctx, changeLimit, name, hash)
		if err != nil {
			return f, fmt.Errorf("round %d: %w", round, err)
		}
		if round > 0 { // the first one asks nginx for its version
			f.took = append(f.took, took...)
		}
	}
	if err := pause(ctx, o.pause); err != nil {
		return f, err
	}
	now, err := cpuNow(server.PID())
	f.agent, f.consul = (now.self-spent.self)/time.Duration(len(f.took)), (now.consul-spent.consul)/time.Duration(len(f.took))
	slices.Sort(f.took)
	return f, err
}

// nodes are the folders with the links of each node. The kernel tells when one
// changes: to look at all of them again and again would slow the nodes down.
type nodes struct {
	live    []string
	watcher *fsnotify.Watcher
}

// await waits until the certificate is in place everywhere, and returns how long
// each node took.
func (n *nodes) await(ctx context.Context, limit time.Duration, name string, hash fleet.Hash) ([]time.Duration, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	waiting := map[string]bool{}
	for _, live := range n.live {
		waiting[live] = true
	}
	var took []time.Duration
	see := func(live string) {
		target, err := os.Readlink(filepath.Join(live, name))
		if waiting[live] && err == nil && filepath.Base(target) == hash.String() {
			delete(waiting, live)
			took = append(took, time.Since(began))
		}
	}
	all := time.NewTicker(look) // for those that the kernel does not tell of
	defer all.Stop()
	for len(waiting) > 0 {
		select {
		case e := <-n.watcher.Events:
			if e.Has(fsnotify.Create) && filepath.Base(e.Name) == name {
				see(filepath.Dir(e.Name))
			}
		case err := <-n.watcher.Errors:
			return nil, fmt.Errorf("watch nodes: %w", err)
		case <-all.C:
			for _, live := range n.live {
				see(live)
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d nodes have no %s: %w", len(waiting), len(n.live), name, context.Cause(ctx))
		}
	}
	return took, nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// errPEM is a certificate that is not as the lab makes it.
var errPEM = errors.New("want leaf, issuer and key")

// bundleOf reads what the lab issues.
func bundleOf(c lab.Certificate) (bundle.Bundle, error) {
	ders := blocks(c.PEM)
	if len(ders) != 3 {
		return bundle.Bundle{}, fmt.Errorf("read certificate: %w", errPEM)
	}
	return bundle.Bundle{Leaf: ders[0], Chain: ders[1:2], Key: fleet.NewSecret(ders[2])}, nil
}
