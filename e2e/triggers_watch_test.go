package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

const (
	rotateEvent  = "tlsfleet-rotate-ticket"
	refreshEvent = "ssl-session-ticket-refresh"
)

func TestConsulWatchAloneBringsEvents(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Settings: Settings{"ticket.watch_events": false, "ticket.accept_event_keys": true}})
	traffic := f.StartTraffic(t)
	leader := f.Leader(t)
	watches := []*Child{leader.WatchByConsul(t, rotateEvent), leader.WatchByConsul(t, refreshEvent)}
	f.ConsulCLI(t, "event", "-name="+rotateEvent).Want(t, 0)
	if s := f.AwaitProved(t, 2); s.Epoch != 2 || s.Cause != fleet.CauseEvent {
		t.Errorf("Status() = %+v, want epoch 2 (event)", s)
	}
	f.Shell(t, `consul event -name="ssl-session-ticket-refresh" $(openssl rand 48 | base64)`).Want(t, 0)
	f.AwaitProved(t, 4)
	if want, _ := f.lastEventKey(t, 1); f.Ring(t).Key(t, fleet.RoleCurrent) != want {
		t.Errorf("current key = %s, want %s, as in the event", f.Ring(t).Key(t, fleet.RoleCurrent), want)
	}
	// A watch that starts again hands the whole buffer over again.
	for _, w := range watches {
		w.Kill(t)
	}
	handed := strings.Count(leader.Agent.Log(), "events handed over")
	leader.WatchByConsul(t, rotateEvent)
	leader.WatchByConsul(t, refreshEvent)
	testkit.Eventually(t, settle, "both watches to hand over", func() error {
		if got := strings.Count(leader.Agent.Log(), "events handed over") - handed; got < 2 {
			return fmt.Errorf("%d handed over", got)
		}
		return nil
	})
	f.WantSettled(t, 4)
	traffic.Stop(t)
}

func TestWatchAndAgentTogetherDoTheWorkOnce(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{})
	for _, n := range f.Nodes {
		n.WatchByConsul(t, rotateEvent)
	}
	f.ConsulCLI(t, "event", "-name="+rotateEvent).Want(t, 0)
	for _, n := range f.Nodes {
		AwaitLog(t, n.Agent, "events handed over", "count=1")
	}
	f.WantSettled(t, 2)
	for _, n := range f.Nodes {
		if got := CountLog(n.Agent, "event noted"); got != 1 {
			t.Errorf("%s noted %d events, want 1", n.Name, got)
		}
	}
}

// watchInput is what a Consul watch writes to its handler for events with
// these ids.
func watchInput(t *testing.T, name string, ids ...string) string {
	t.Helper()
	list := []map[string]any{}
	for i, id := range ids {
		list = append(list, map[string]any{
			"ID": id, "Name": name, "Payload": nil, "NodeFilter": "", "ServiceFilter": "", "TagFilter": "", "Version": 1, "LTime": i + 1,
		})
	}
	text, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + "\n"
}

func TestHandleEventTellsNewFromOld(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Nodes: 1, Settings: Settings{"ticket.watch_events": false}})
	n := f.Nodes[0]
	hand := func(ids ...string) {
		t.Helper()
		n.CLIWithInput(t, watchInput(t, rotateEvent, ids...), "handle-event").Want(t, 0)
	}
	hand()
	f.WantSettled(t, 1)
	hand("a", "b", "c") // a burst that one call of the handler brings
	f.AwaitProved(t, 3)
	f.WantSettled(t, 3)
	hand("a", "b", "c")
	hand()
	f.WantSettled(t, 4)
	var all []string
	for i := range 256 {
		all = append(all, fmt.Sprint("event-", i))
	}
	hand(all...)
	f.AwaitProved(t, 6)
	hand(all...)
	f.WantSettled(t, 6)
	n.Agent.Stop(t)
	n.StartAgent(t)
	f.AwaitProved(t, 7)
	testkit.Eventually(t, settle, "the socket", func() error {
		if r := n.CLIWithInput(t, watchInput(t, rotateEvent, all...), "handle-event"); r.Code != 0 {
			return fmt.Errorf("%s", r)
		}
		return nil
	})
	f.WantSettled(t, 7)
}

func TestEventsFromBeforeTheFirstStartAreOld(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		watchEvents bool
		events      int
	}{
		"handler, one event":  {false, 1},
		"handler, two events": {false, 2},
		"both, one event":     {true, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := NewFleet(t, FleetOptions{Nodes: 1, Idle: true, Settings: Settings{"ticket.watch_events": tt.watchEvents}})
			n := f.Nodes[0]
			for range tt.events {
				f.fire(t, rotateEvent, nil)
			}
			testkit.Eventually(t, settle, "the events in the buffer", func() error {
				list, _, err := f.Consul.Client(t).Event().List(rotateEvent, nil)
				if len(list) != tt.events {
					return fmt.Errorf("%d events, %w", len(list), err)
				}
				return err
			})
			n.Nginx.Start(t)
			n.StartAgent(t)
			f.AwaitProved(t, 1)
			n.WatchByConsul(t, rotateEvent)
			AwaitLog(t, n.Agent, "events handed over")
			f.WantSettled(t, 1)
			f.fire(t, rotateEvent, nil)
			f.AwaitProved(t, 3)
			f.WantSettled(t, 3)
		})
	}
}

// TestFirstListOfAHandlerIsOldWithConsulAway brings an old event to an agent
// that has never seen Consul's.
func TestFirstListOfAHandlerIsOldWithConsulAway(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Nodes: 1, Idle: true, Settings: Settings{"ticket.watch_events": false, "consul.address": "127.0.0.1:1"}})
	n := f.Nodes[0]
	f.fire(t, rotateEvent, nil)
	n.Nginx.Start(t)
	n.StartAgent(t)
	AwaitLog(t, n.Agent, "old events not readable")
	n.WatchByConsul(t, rotateEvent)
	AwaitLog(t, n.Agent, "events handed over", "count=1")
	delete(n.Settings, "consul.address")
	n.WriteConfig(t)
	f.AwaitProved(t, 1)
	f.WantSettled(t, 1)
	f.fire(t, rotateEvent, nil)
	f.AwaitProved(t, 3)
	f.WantSettled(t, 3)
}

// TestOldEventsAreReadOnceConsulIsBack starts a node for the first time while
// Consul hangs.
func TestOldEventsAreReadOnceConsulIsBack(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Nodes: 1, Idle: true, Settings: Settings{"ticket.watch_events": false}})
	n := f.Nodes[0]
	f.fire(t, rotateEvent, nil)
	n.Nginx.Start(t)
	f.Consul.Freeze(t)
	n.StartAgent(t)
	AwaitLog(t, n.Agent, "old events not readable")
	f.Consul.Thaw(t)
	AwaitLog(t, n.Agent, "event taken for one from before this node's first start")
	f.fire(t, rotateEvent, nil)
	n.WatchByConsul(t, rotateEvent) // brings both
	f.AwaitProved(t, 2)
	f.WantSettled(t, 2)
}

func TestHandleEventWithoutAgent(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Nodes: 1, Idle: true})
	n := f.Nodes[0]
	n.CLIWithInput(t, "[]\n", "handle-event").Want(t, 0)
	r := n.CLIWithInput(t, watchInput(t, rotateEvent, "a"), "handle-event").Want(t, 1)
	if !strings.Contains(r.Stderr, "is the agent running") {
		t.Errorf("%s: want advice", r)
	}
}
