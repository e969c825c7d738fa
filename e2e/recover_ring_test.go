package e2e

import (
	"fmt"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// TestLostRingUnderALeaderWithoutTheNewest deletes the ring while no agent
// runs, and starts first the one that missed the last rotation: it lets another
// lead, which writes the newest ring again.
func TestLostRingUnderALeaderWithoutTheNewest(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, onShared(t, 3, nil))
	old, others := f.Nodes[0], f.Nodes[1:]
	old.Drain(t, true)
	old.Agent.Stop(t)
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	newest := f.sealsNow(t)
	var tickets []Ticket
	for _, n := range others {
		tickets = append(tickets, n.TakeTickets(t)...)
	}
	for _, n := range others {
		n.Agent.Stop(t)
	}
	if _, err := f.Consul.Client(t).KV().Delete(f.ringPath(), nil); err != nil {
		t.Fatal(err)
	}
	old.StartAgent(t)
	AwaitLog(t, old.Agent, "leading", "node="+old.Name)
	for _, n := range others {
		n.StartAgent(t)
	}
	s := f.Await(t, "the newest ring, proved by all", func(s Status) error {
		if s.Epoch != 2 || s.Cause == fleet.CauseCreated {
			return fmt.Errorf("epoch %d (%s by %s), led by %s", s.Epoch, s.Cause, s.By, s.Leader)
		}
		for _, n := range s.Nodes {
			if !n.Proved {
				return fmt.Errorf("%s: %s", n.Node, n.Why)
			}
		}
		return nil
	})
	if s.Leader == old.Name {
		t.Errorf("%s leads, want one of the others", s.Leader)
	}
	AwaitLog(t, old.Agent, "another node holds a newer ring")
	for _, n := range f.Nodes {
		n.AwaitNoProblem(t)
		n.WantSeals(t, "recovered", newest)
	}
	WantResumed(t, true, "recovered", tickets, f.Nodes...)
}
