package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func TestConsulEventRotates(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{})
	before := f.Ring(t)
	traffic := f.StartTraffic(t)
	f.ConsulCLI(t, "event", "-name=tlsfleet-rotate-ticket").Want(t, 0)
	s := f.AwaitProved(t, 2)
	if s.Epoch != 2 || s.Cause != fleet.CauseEvent || f.Ring(t).Key(t, fleet.RoleCurrent) != before.Key(t, fleet.RoleNext) {
		t.Errorf("Status() = %+v, want epoch 2 (event) that seals with next", s)
	}
	f.ConsulCLI(t, "event", "-name=tlsfleet-rotate-ticket", f.Name).Want(t, 0)
	f.AwaitProved(t, 3)
	f.ConsulCLI(t, "event", "-name=tlsfleet-rotate-ticket", "another-fleet").Want(t, 0)
	f.ConsulCLI(t, "event", "-name=tlsfleet-rotate-ticket", f.Name+"x").Want(t, 0)
	f.WantSettled(t, 3)
	traffic.Stop(t)
	AwaitNoted(t, 2, f.Nodes...)
}

func TestBurstOfEventsMakesFewRotations(t *testing.T) {
	t.Parallel()
	const gap = 3 * time.Second
	f := NewFleet(t, FleetOptions{Settings: Settings{"reload.min_interval": gap.String()}})
	begin := time.Now()
	f.Shell(t, `for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do consul event -name=tlsfleet-rotate-ticket & done; wait`).Want(t, 0)
	AwaitNoted(t, 20, f.Nodes...)
	burst := time.Since(begin) // an event may come late
	f.awaitActed(t)
	// One for the first event, one for those that came while nodes were proving
	// it, one for those after that, and one for each interval that the burst took.
	most := 4 + uint64(burst/gap)
	s := f.AwaitProved(t, 2)
	if s.Epoch > most {
		t.Errorf("epoch = %d after 20 events in %s, want %d at most", s.Epoch, burst, most)
	}
	f.WantSettled(t, s.Epoch)
	// An agent that starts again sees all of them again, the next leader too.
	leader := f.Leader(t)
	for _, n := range f.Nodes {
		n.Agent.Stop(t)
		n.StartAgent(t)
	}
	if next := f.Leader(t); next == leader {
		t.Logf("%s leads again", next.Name)
	}
	f.WantSettled(t, s.Epoch+1)
}

// awaitActed waits until the leader knows of nothing that it has to do.
func (f *Fleet) awaitActed(t *testing.T) {
	t.Helper()
	f.Await(t, "the leader to have nothing to do", func(s Status) error {
		for _, n := range f.Nodes {
			if n.Name == s.Leader {
				return n.idle()
			}
		}
		return errNoLeader
	})
}

func TestEventsOfUnknownNamesAndFormsAreHarmless(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Nodes: 2, Settings: Settings{"ticket.accept_event_keys": true}})
	for _, payload := range []string{"", "[]", "{", "not base64 at all", "QUJD", strings.Repeat("A", 300)} {
		f.fire(t, "ssl-session-ticket-refresh", []byte(payload))
	}
	f.fire(t, "deploy", []byte("x"))
	f.fire(t, "tlsfleet-rotate-ticket-now", nil)
	for _, n := range f.Nodes {
		AwaitLog(t, n.Agent, "event refused", "300 bytes")
		f.Await(t, "the warning of "+n.Name, func(s Status) error {
			st := s.Node(t, n.Name)
			if p, ok := st.Problem("event-refused"); !ok || p.Severity != fleet.Warning {
				return fmt.Errorf("report is %+v", st.Report)
			}
			return nil
		})
	}
	f.WantSettled(t, 1)
}
