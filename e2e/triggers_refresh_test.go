package e2e

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// lastEventKey is the name of the key in the newest event of this name, read
// as its sender made it: `openssl rand | base64`. It waits until count of them
// have come.
func (f *Fleet) lastEventKey(t *testing.T, count int) (name fleet.KeyName, size int) {
	t.Helper()
	var text string
	testkit.Eventually(t, settle, fmt.Sprintf("%d events", count), func() error {
		events, _, err := f.Consul.Client(t).Event().List("ssl-session-ticket-refresh", nil)
		if err != nil || len(events) < count {
			return fmt.Errorf("list events: %d, %w", len(events), err)
		}
		text = strings.Join(strings.Fields(string(events[len(events)-1].Payload)), "")
		return nil
	})
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(key) < fleet.KeyNameSize {
		t.Fatalf("read event: %d bytes, %v", len(key), err)
	}
	return fleet.KeyName(key[:fleet.KeyNameSize]), len(key)
}

func TestRefreshEventAsTyped(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		line string
		size int
	}{
		"48":         {`consul event -name="ssl-session-ticket-refresh" $(openssl rand 48 | base64)`, 48},
		"80, quoted": {`consul event -name="ssl-session-ticket-refresh" "$(openssl rand 80 | base64)"`, 80},
	}
	f := NewFleet(t, FleetOptions{Settings: Settings{"ticket.accept_event_keys": true, "reload.splay": "1s"}})
	traffic := f.StartTraffic(t)
	fired := 0
	for name, tt := range tests {
		before := f.Ring(t)
		tickets := f.Nodes[0].TakeTickets(t)
		var reloads []int
		for _, n := range f.Nodes {
			reloads = append(reloads, n.Reloads())
		}
		f.Shell(t, tt.line).Want(t, 0)
		fired++
		want, size := f.lastEventKey(t, fired)
		if size != tt.size {
			t.Fatalf("%s: the event carries %d bytes, want %d", name, size, tt.size)
		}
		f.Await(t, "the key of the event in force", func(s Status) error {
			if s.Epoch < before.Epoch+2 || s.Proved != 3 {
				return fmt.Errorf("%+v", s)
			}
			return nil
		})
		ring := f.Ring(t)
		if ring.Epoch != before.Epoch+2 || ring.Cause != fleet.CausePromote || ring.Key(t, fleet.RoleCurrent) != want ||
			ring.Key(t, fleet.RolePrevious) != before.Key(t, fleet.RoleCurrent) {
			t.Errorf("%s: ring went from %+v to %+v, want %s in force in two epochs", name, before, ring, want)
		}
		for i, n := range f.Nodes {
			for _, k := range n.TakeTickets(t) {
				if k.Key != want {
					t.Errorf("%s: %s seals with %s, want %s", name, n.Name, k.Key, want)
				}
			}
			if got := n.Reloads() - reloads[i]; got != 2 {
				t.Errorf("%s: %s was reloaded %d times, want twice", name, n.Name, got)
			}
		}
		WantResumed(t, true, name, tickets, f.Nodes...)
	}
	t.Logf("traffic: %+v", traffic.Stop(t))
}

func TestRefreshEventOf80BytesNeedsQuotes(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Nodes: 1, Settings: Settings{"ticket.accept_event_keys": true}})
	r := f.Shell(t, `consul event -name="ssl-session-ticket-refresh" $(openssl rand 80 | base64)`)
	if r.Code == 0 || !strings.Contains(r.Stdout+r.Stderr, "Too many command line arguments") {
		t.Errorf("%s: want consul to refuse two words", r)
	}
	f.WantSettled(t, 1)
}

func TestRefreshEventIsRefusedUnlessAccepted(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Nodes: 2})
	before := f.Ring(t)
	f.Shell(t, `consul event -name="ssl-session-ticket-refresh" $(openssl rand 48 | base64)`).Want(t, 0)
	f.Await(t, "a warning of every node", func(s Status) error {
		for _, n := range f.Nodes {
			st := findNode(s, n.Name)
			if p, ok := st.Problem("event-refused"); !ok || p.Severity != fleet.Warning || !strings.Contains(p.Message, "accept_event_keys") {
				return fmt.Errorf("%s: %+v", n.Name, p)
			}
		}
		return nil
	})
	if after := f.Ring(t); after.Epoch != before.Epoch || after.Key(t, fleet.RoleNext) != before.Key(t, fleet.RoleNext) {
		t.Errorf("ring went from %+v to %+v, want no change", before, after)
	}
	f.WantSettled(t, 1)
}
