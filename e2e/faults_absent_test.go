package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// TestAgentDownDuringRotationsCatchesUp takes a node's agent away for one
// rotation, which loses nothing, and then for two, which it says.
func TestAgentDownDuringRotationsCatchesUp(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, onShared(t, 2, nil))
	late := f.Nodes[1]
	late.Drain(t, true)

	late.Agent.Kill(t)
	tickets := late.TakeTickets(t)
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	WantResumed(t, true, "one rotation behind", append(f.Nodes[0].TakeTickets(t), tickets...), f.Nodes...)
	late.StartAgent(t)
	late.AwaitReport(t, "epoch 2", provedWithout(2, "rotations-missed"))

	late.Agent.Kill(t)
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	late.Drain(t, false)
	f.Await(t, "the end of the dead agent's report", func(s Status) error {
		if late := findNode(s, late.Name); late == nil || late.Alive || late.Drained {
			return fmt.Errorf("it is %+v", late)
		}
		return nil
	})
	wantHeldRotation(t, f, late.Name, "agent is down")
	late.StartAgent(t)
	s := f.AwaitProved(t, 4)
	if s.Epoch != 4 {
		t.Errorf("epoch = %d after a rotation that was held, want 4", s.Epoch)
	}
	p, ok := s.Node(t, late.Name).Problem("rotations-missed")
	if !ok {
		t.Fatalf("status of %s has no rotations-missed: %+v", late.Name, s.Node(t, late.Name).Report)
	}
	WantProblem(t, p, fleet.Warning, "2 rotations behind")
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	late.AwaitReport(t, "epoch 5", provedWithout(5, "rotations-missed"))
}

// provedWithout accepts a report that proves the epoch and lacks the problem.
func provedWithout(epoch uint64, code string) func(fleet.Report) error {
	return func(r fleet.Report) error {
		if p, ok := (NodeStatus{Report: &r}).Problem(code); ok || r.Proved != epoch {
			return fmt.Errorf("proved %d, problem %+v", r.Proved, p)
		}
		return nil
	}
}

// passOver makes commands go by a deadline that has come, instead of an hour: how
// long the fleet took so far is of no matter.
func (f *Fleet) passOver(t *testing.T) {
	t.Helper()
	f.operator = filepath.Join(f.Dir, "operator.hcl")
	writeConfig(t, f.operator, with(f.Nodes[0].Settings, Settings{"ticket.deadline": "1s"}))
}

func TestPolicyProceedRotatesPastADeadAgent(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, onShared(t, 2, Settings{"ticket.policy": "proceed", "ticket.deadline": "1h"}))
	late := f.Nodes[1]
	late.Agent.Kill(t)
	f.CLI(t, "rotate-ticket").Want(t, 0) // it has proved epoch 1
	f.Nodes[0].AwaitReport(t, "epoch 2", provedWithout(2, ""))
	wantHeldRotation(t, f, late.Name)
	f.passOver(t)
	testkit.Eventually(t, settle, "a rotation past the deadline", func() error {
		if r := f.CLI(t, "rotate-ticket"); r.Code != 0 {
			return fmt.Errorf("%s", r)
		}
		return nil
	})
	if s := f.Status(t); !slices.Equal(s.Skipped, []string{late.Name}) || s.Epoch != 3 {
		t.Errorf("epoch %d skipped %v, want epoch 3 and %s", s.Epoch, s.Skipped, late.Name)
	}
	late.StartAgent(t)
	f.AwaitProved(t, 3)
	late.WantSeals(t, "caught up", f.sealsNow(t))
}
