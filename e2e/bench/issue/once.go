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
	err = staged(ctx, p, o, onceParallel, 0, func(ctx context.Context, s *scene) error {
		t.faults = 0
		f, err := s.fleet(ctx, onceNodes, leaderTTL)
		if err != nil {
			return err
		}
		if err := f.AddDomains(ctx, s.names); err != nil {
			return err
		}
		for ; t.faults < o.faults; t.faults++ {
			if err := f.failLater(ctx, s, (t.faults+1)*o.certs/(o.faults+1), t.faults%2 == 1); err != nil {
				return err
			}
		}
		if err := lab.Until(ctx, obtainLimit, time.Second, func() error { return f.inConsul(ctx, s.names) }); err != nil {
			return err
		}
		t.PebbleCounts = s.ca.Counts(s.p)
		fmt.Println(t)
		return nil
	})
	return t, err
}

// failLater waits until so many orders are placed.
func (f *fleetOf) failLater(ctx context.Context, s *scene, orders int, freeze bool) error {
	if err := lab.Until(ctx, changeLimit, look, func() error {
		if n := s.ca.Counts(s.p).Orders; n < orders {
			return fmt.Errorf("%d orders are placed, waiting for %d", n, orders)
		}
		return nil
	}); err != nil {
		return err
	}
	if s.ca.Counts(s.p).Certificates >= len(s.names) {
		return errDone
	}
	return f.fault(ctx, s.p, freeze)
}

var errDone = errors.New("everything was done before the last fault: nothing is shown")

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
	err = lab.Until(ctx, changeLimit, 20*time.Millisecond, func() error {
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
