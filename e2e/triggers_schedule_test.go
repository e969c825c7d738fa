package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

func TestScheduleRotatesOncePerInterval(t *testing.T) {
	t.Parallel()
	const every = 6 * time.Second
	f := NewFleet(t, FleetOptions{Nodes: 2, Idle: true, Settings: Settings{
		"ticket.rotate_every": every.String(), "ticket.session_timeout": "6s", "ticket.apply_lag": "2s",
	}})
	f.startAll(t) // on a busy machine there is no moment without a change that is on its way
	leader := f.Leader(t)
	var at []time.Time
	testkit.Eventually(t, 3*settle, "three rotations on schedule", func() error {
		if at = changes(t, leader, "cause=schedule"); len(at) < 3 {
			return fmt.Errorf("%s rotated at %v", leader.Name, at)
		}
		return nil
	})
	for _, n := range f.Nodes {
		if times := changes(t, n, "cause=schedule"); n != leader && len(times) > 0 {
			t.Errorf("%s rotated %d times, %s leads", n.Name, len(times), leader.Name)
		}
	}
	if s := f.Status(t); s.Cause != fleet.CauseSchedule || s.By != leader.Name {
		t.Errorf("Status() = %+v, want a rotation on schedule by %s", s, leader.Name)
	}
	gaps := []time.Duration{at[1].Sub(at[0]), at[2].Sub(at[1])}
	// Times in a ring are whole seconds, and a line is written after the ring, later
	// if the machine stands still between both. A busy machine takes longer to prove
	// a ring, which no rotation comes before.
	if least := slices.Min(gaps); least < every/2 || least > 2*every-time.Second {
		t.Errorf("rotations are %v apart, want %s", gaps, every)
	}
	if keep := f.Ring(t).Keep; keep != 3 {
		t.Errorf("keep = %d, want ceil((6+2)/6)+1 = 3", keep)
	}
}

// changes is when the node changed the ring, by its log.
func changes(t *testing.T, n *Node, cause string) []time.Time {
	t.Helper()
	var out []time.Time
	for line := range strings.Lines(n.Agent.Log()) {
		if !strings.Contains(line, "ring changed") || !strings.Contains(line, cause) {
			continue
		}
		stamp, _, _ := strings.Cut(line, " ")
		at, err := time.Parse("2006-01-02T15:04:05.000Z0700", stamp)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, at)
	}
	return out
}

func TestScheduleIsHeldByPolicyAndTold(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Settings: Settings{"ticket.deadline": "2s"}})
	down := f.follower(t)
	down.Agent.Stop(t)
	f.fire(t, "tlsfleet-rotate-ticket", nil)
	s := f.Await(t, "an alarm of the leader", func(s Status) error {
		for _, n := range s.Nodes {
			if p, ok := n.Problem("rotation-held"); ok && n.Leader && p.Severity == fleet.Alarm && strings.Contains(p.Message, down.Name) {
				return nil
			}
		}
		return fmt.Errorf("%+v", s)
	})
	if s.Epoch != 1 {
		t.Errorf("ring epoch = %d while %s is down, want 1", s.Epoch, down.Name)
	}
	down.StartAgent(t)
	s = f.AwaitProved(t, 2)
	if s.Epoch != 2 || s.Cause != fleet.CauseEvent {
		t.Errorf("Status() = %+v, want the rotation that was held", s)
	}
	f.Await(t, "the alarm to end", func(s Status) error {
		for _, n := range s.Nodes {
			if p, ok := n.Problem("rotation-held"); ok {
				return fmt.Errorf("%+v", p)
			}
		}
		return nil
	})
}

func TestLeaderPassesOverANodeByPolicy(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Settings: Settings{"ticket.deadline": "2s", "ticket.policy": "proceed"}})
	down := f.follower(t)
	tickets := down.TakeTickets(t)
	down.Agent.Stop(t)
	f.fire(t, "tlsfleet-rotate-ticket", nil)
	s := f.Await(t, "the rotation past the node", func(s Status) error {
		if s.Epoch != 2 || s.Proved != 2 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	if !slices.Equal(s.Skipped, []string{down.Name}) {
		t.Errorf("passed over %v, want %s", s.Skipped, down.Name)
	}
	// One rotation behind, it opens what the others seal, and they what it seals.
	WantResumed(t, true, "one behind", append(f.Leader(t).TakeTickets(t), tickets...), f.Nodes...)
	AwaitLog(t, f.Leader(t).Agent, "rotating past nodes", down.Name)
}

// follower is a node that does not lead.
func (f *Fleet) follower(t *testing.T) *Node {
	t.Helper()
	leader := f.Leader(t)
	for _, n := range f.Nodes {
		if n != leader {
			return n
		}
	}
	t.Fatal("there is no follower")
	return nil
}

func TestNextLeaderGoesOn(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Nodes: 2})
	first := f.Leader(t)
	first.Agent.Stop(t)
	var next *Node
	testkit.Eventually(t, settle, "another leader", func() error {
		if next = f.Leader(t); next == first {
			return fmt.Errorf("%s still leads", first.Name)
		}
		return nil
	})
	first.StartAgent(t)
	f.AwaitProved(t, 1)
	f.fire(t, "tlsfleet-rotate-ticket", nil)
	if s := f.AwaitProved(t, 2); s.By != next.Name {
		t.Errorf("rotated by %s, want %s", s.By, next.Name)
	}
}

// TestNextLeaderPromotesAnAdoptedKey stops the leader while a key from an
// event is handed out and waits for a node.
func TestNextLeaderPromotesAnAdoptedKey(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Settings: Settings{"ticket.accept_event_keys": true}})
	first, down := f.Leader(t), f.follower(t)
	down.Agent.Stop(t)
	f.Shell(t, `consul event -name="ssl-session-ticket-refresh" $(openssl rand 48 | base64)`).Want(t, 0)
	f.Await(t, "the key handed out", func(s Status) error {
		if s.Epoch != 2 || s.Cause != fleet.CauseAdopt || s.Proved != 2 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	first.Agent.Stop(t)
	var next *Node
	testkit.Eventually(t, settle, "another leader", func() error {
		if next = f.Leader(t); next == first || next == down {
			return fmt.Errorf("%s leads", next.Name)
		}
		return nil
	})
	first.StartAgent(t)
	down.StartAgent(t)
	s := f.AwaitProved(t, 3)
	if s.Epoch != 3 || s.Cause != fleet.CausePromote || s.By != next.Name {
		t.Errorf("Status() = %+v, want epoch 3 (promote) by %s", s, next.Name)
	}
	if want, _ := f.lastEventKey(t, 1); f.Ring(t).Key(t, fleet.RoleCurrent) != want {
		t.Errorf("current key = %s, want %s, as in the event", f.Ring(t).Key(t, fleet.RoleCurrent), want)
	}
}
