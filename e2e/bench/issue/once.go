package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

const (
	onceNodes    = 3
	onceParallel = 8
	leaderTTL    = 10 * time.Second // the least that Consul allows
	changeLimit  = 2 * time.Minute  // for another leader
)

// tally is what a CA has made for names while leaders failed.
type tally struct {
	names, faults int
	testkit.PebbleCounts
}

// String is the tally's line.
func (t tally) String() string {
	return fmt.Sprintf("bench=issue-once who=%s names=%d faults=%d orders=%d certificates=%d accounts=%d", tlsfleetName, t.names, t.faults, t.Orders, t.Certificates, t.Accounts)
}

// judge wants one order and one certificate for each name, and one account.
func (t tally) judge() error {
	if t.Orders != t.names || t.Certificates != t.names || t.Accounts != 1 {
		return fmt.Errorf("%w: want exactly %d orders and certificates and 1 account", errSlow, t.names)
	}
	return nil
}

// once has three agents obtain names while whoever leads is killed or frozen,
// in turn, each time that a share of the orders is placed.
func once(ctx context.Context, p *lab.Program, o options) (t tally, err error) {
	t.names = o.certs
	err = p.Sub(ctx, "once", func(ctx context.Context, p *lab.Program) error {
		s := &scene{p: p, o: o, parallel: onceParallel, names: domains(o.certs)}
		s.ca = testkit.Pebble(p, testkit.PebbleOptions{HTTPPort: testkit.FreePort(p, "127.0.0.1")})
		f, err := s.fleet(ctx, onceNodes, leaderTTL)
		if err != nil {
			return err
		}
		if err := f.AddDomains(ctx, s.names); err != nil {
			return err
		}
		for t.faults < o.faults {
			ordered := (t.faults + 1) * o.certs / (o.faults + 1)
			if err := until(ctx, changeLimit, look, func() error {
				if n := s.ca.Counts(p).Orders; n < ordered {
					return fmt.Errorf("%d orders are placed", n)
				}
				return nil
			}); err != nil {
				return err
			}
			if s.ca.Counts(p).Certificates >= o.certs {
				return errors.New("everything was done before the last fault: nothing is shown")
			}
			if err := f.fault(ctx, s.p, t.faults%2 == 1); err != nil {
				return err
			}
			t.faults++
		}
		if err := until(ctx, obtainLimit, time.Second, func() error { return f.inConsul(ctx, s.names) }); err != nil {
			return err
		}
		t.PebbleCounts = s.ca.Counts(p)
		fmt.Println(t)
		return nil
	})
	return t, err
}

// fault kills the leader and starts it again, or freezes it until another leads.
func (f *fleetOf) fault(ctx context.Context, p *lab.Program, freeze bool) error {
	i, err := f.leader(ctx)
	if err != nil {
		return err
	}
	if !freeze {
		if err := f.Procs[i].Kill(); err != nil {
			return err
		}
		p.Logf("killed the leader, %s", f.Nodes[i].Name)
		f.Restart(p, f.Agents, i)
		return nil
	}
	if err := f.Procs[i].Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	err = until(ctx, changeLimit, 20*time.Millisecond, func() error {
		now, err := f.leader(ctx)
		if err == nil && now == i {
			err = errors.New("it still leads")
		}
		return err
	})
	p.Logf("froze the leader, %s, until another led", f.Nodes[i].Name)
	return errors.Join(err, f.Procs[i].Signal(syscall.SIGCONT))
}

var errNoLeader = errors.New("nobody leads")

// leader is the number of the node that leads.
func (f *fleetOf) leader(ctx context.Context) (int, error) {
	name, err := f.store.Leader(ctx)
	if err != nil {
		return 0, err
	}
	for i, n := range f.Nodes {
		if n.Name == name {
			return i, nil
		}
	}
	return 0, errNoLeader
}
