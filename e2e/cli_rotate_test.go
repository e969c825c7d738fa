package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func TestRotateTicketLosesNoResumption(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Settings: Settings{"reload.splay": "1s"}})
	traffic := f.StartTraffic(t)
	for range 3 {
		before := f.Ring(t)
		tickets := f.Nodes[0].TakeTickets(t)
		var reloads []int
		for _, n := range f.Nodes {
			reloads = append(reloads, n.Reloads())
		}
		done := make(chan Result, 1)
		go func() { done <- f.CLI(t, "rotate-ticket", "--wait") }()
		var r Result
		for running := true; running; {
			WantResumed(t, true, "during the rotation", tickets, f.Nodes...)
			select {
			case r = <-done:
				running = false
			default:
			}
		}
		r.Want(t, 0)
		WantResumed(t, true, "after the rotation", tickets, f.Nodes...)
		after := f.Ring(t)
		if after.Epoch != before.Epoch+1 || after.Key(t, fleet.RoleCurrent) != before.Key(t, fleet.RoleNext) ||
			after.Key(t, fleet.RolePrevious) != before.Key(t, fleet.RoleCurrent) {
			t.Errorf("ring went from %+v to %+v, want each key one role on", before, after)
		}
		for i, n := range f.Nodes {
			if got := n.Reloads() - reloads[i]; got != 1 {
				t.Errorf("%s was reloaded %d times for one rotation, want once", n.Name, got)
			}
			if got := n.SealsWith(t); got != after.Key(t, fleet.RoleCurrent) {
				t.Errorf("%s seals with %s after --wait, want %s", n.Name, got, after.Key(t, fleet.RoleCurrent))
			}
		}
		if last := fmt.Sprintf("epoch %d: 3 of 3 nodes prove the new ring\n", after.Epoch); !strings.HasSuffix(r.Stderr, last) {
			t.Errorf("progress = %q, want it to end with %q", r.Stderr, last)
		}
		if !strings.Contains(r.Stdout, "proved by every node in service") {
			t.Errorf("output = %q, want it to say that every node proved it", r.Stdout)
		}
	}
	t.Logf("traffic: %+v", traffic.Stop(t))
}

func TestRotateTicketIsHeldByANodeWithoutAgent(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{})
	down := f.Nodes[2]
	if code, _ := down.Agent.Stop(t); code != 0 {
		t.Errorf("agent ended with %d, want 0", code)
	}
	for _, args := range [][]string{{"rotate-ticket"}, {"rotate-ticket", "--wait", "--timeout", "5s"}} {
		r := f.CLI(t, args...).Want(t, 1)
		if !strings.Contains(r.Stderr, "node3 (no report") || strings.Contains(r.Stderr, "node1 (") || !strings.Contains(r.Stderr, "hint:") {
			t.Errorf("%s: want it to name node3 alone, and advice", r)
		}
	}
	if got := f.Ring(t).Epoch; got != 1 {
		t.Errorf("ring epoch = %d while node3 is down, want 1", got)
	}
	s := f.Status(t)
	if n := s.Node(t, "node3"); s.Proved != 2 || s.Serving != 3 || n.Alive || !n.Waiting {
		t.Errorf("Status() = %+v, want node3 silent and 2 of 3 proved", s)
	}

	f.ConsulCLI(t, "maint", "-enable", "-service="+down.ServiceID(), "-reason=test").Want(t, 0)
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	s = f.Status(t)
	if n := s.Node(t, "node3"); s.Epoch != 2 || s.Proved != 2 || s.Serving != 2 || !n.Drained || n.Waiting {
		t.Errorf("Status() = %+v, want node3 drained and epoch 2 proved by 2 of 2", s)
	}

	tickets := f.Nodes[0].TakeTickets(t)
	down.StartAgent(t)
	f.ConsulCLI(t, "maint", "-disable", "-service="+down.ServiceID()).Want(t, 0)
	f.Await(t, "node3 to catch up", func(s Status) error {
		if n := findNode(s, "node3"); s.Serving != 3 || n == nil || !n.Proved {
			return fmt.Errorf("%+v", n)
		}
		return nil
	})
	WantResumed(t, true, "after node3 caught up", tickets, down)
}

func TestRotateTicketWaitGoesOnOnceTheNodeIsBack(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Nodes: 2})
	f.Nodes[1].Agent.Stop(t)
	c := startChild(t, "rotate-ticket", filepath.Join(f.Dir, "rotate.log"), append([]string{"TLSFLEET_CONFIG=" + f.Nodes[0].Config}, f.env...),
		binary(t), "rotate-ticket", "--wait")
	AwaitLog(t, c, "epoch 1: 1 of 2 nodes prove the ring in force, waiting for node2")
	f.Nodes[1].StartAgent(t)
	if code := c.Code(); code != 0 || CountLog(c, "epoch 2: 2 of 2 nodes prove the new ring") == 0 {
		t.Errorf("rotate-ticket --wait ended with %d, want 0 and both nodes to prove epoch 2: %s", code, c.Log())
	}
	if got := f.Ring(t).Epoch; got != 2 {
		t.Errorf("ring epoch = %d, want 2", got)
	}
}

func TestRotateTicketPassesOverANodeByPolicy(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Settings: Settings{"ticket.policy": "proceed", "ticket.deadline": "1h"}})
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	f.Nodes[2].Agent.Stop(t)
	r := f.CLI(t, "rotate-ticket").Want(t, 1)
	if !strings.Contains(r.Stderr, "node3 (no report") {
		t.Errorf("%s: want node3 named before the deadline", r)
	}
	f.passOver(t)
	r = f.CLI(t, "rotate-ticket", "--wait", "--timeout", "10s").Want(t, 1) // changed, but not proved by node3
	if !strings.Contains(r.Stderr, "not every node has proved the new ring (epoch 3): node3 (no report") {
		t.Errorf("%s: want node3 named as not having proved the new ring", r)
	}
	s := f.Status(t)
	if s.Epoch != 3 || len(s.Skipped) != 1 || s.Skipped[0] != "node3" || s.Policy != "proceed" {
		t.Errorf("Status() = %+v, want epoch 3 that passed over node3", s)
	}
	if out := f.CLI(t, "status").Want(t, 0).Stdout; !strings.Contains(out, "the last change passed over: node3") {
		t.Errorf("status does not name the node passed over:\n%s", out)
	}
}

func TestTwoRotationsAtOnce(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Nodes: 2})
	traffic := f.StartTraffic(t)
	raced := 0
	for round := 0; round < 8 && (round < 4 || raced == 0); round++ {
		before := f.AwaitProved(t, 1).Epoch
		results := make(chan Result, 2)
		for _, n := range f.Nodes {
			go func() { results <- n.CLI(t, "rotate-ticket") }()
		}
		done := uint64(0)
		for range 2 {
			r := <-results
			switch {
			case r.Code == 0:
				done++
			case r.Code == 1 && strings.Contains(r.Stderr, "changed by somebody else"):
				raced++
			case r.Code == 1 && strings.Contains(r.Stderr, "not every node has proved the ring in force"):
			default:
				t.Errorf("want it to rotate or to say why not: %s", r)
			}
		}
		s := f.AwaitProved(t, before+1)
		if s.Epoch != before+done || done == 0 {
			t.Errorf("epoch went from %d to %d while %d commands said that they rotated", before, s.Epoch, done)
		}
	}
	t.Logf("lost races: %d, traffic: %+v", raced, traffic.Stop(t))
}
