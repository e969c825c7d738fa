package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func TestFirstStartProvesARingEverywhere(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{})
	s := f.Status(t)
	if s.Fleet != f.Name || s.Epoch != 1 || s.Cause != fleet.CauseCreated || s.Proved != 3 || s.Serving != 3 || len(s.Nodes) != 3 {
		t.Errorf("Status() = %+v, want epoch 1 (created) proved by 3 of 3", s)
	}
	if leader := f.Leader(t); s.By != leader.Name {
		t.Errorf("first ring made by %q, want the leader, %s", s.By, leader.Name)
	}
	ring := f.Ring(t)
	current := ring.Key(t, fleet.RoleCurrent)
	for _, n := range f.Nodes {
		for _, k := range n.TakeTickets(t) {
			if k.Key != current {
				t.Errorf("%s seals with %s, want %s", n.Name, k.Key, current)
			}
		}
		if n.Reloads() != 1 {
			t.Errorf("%s was reloaded %d times, want once", n.Name, n.Reloads())
		}
		WantResumed(t, true, "after the first ring", n.TakeTickets(t), f.Nodes...)
	}
}

func TestStatusAndTicketShow(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Nodes: 2})
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	table := f.CLI(t, "status").Want(t, 0).Stdout
	for _, want := range []string{"node1", "node2", "leader", "proved by 2 of 2", "ring epoch 2 (cli by ", "1.22."} {
		if !strings.Contains(table, want) {
			t.Errorf("status has no %q:\n%s", want, table)
		}
	}
	r := f.Ring(t)
	var roles []fleet.Role
	shown := f.CLI(t, "ticket", "show").Want(t, 0).Stdout
	for _, k := range r.Keys {
		roles = append(roles, k.Role)
		if k.Bits != 256 || k.Origin != fleet.OriginLeader {
			t.Errorf("key %s = %+v, want AES-256 made by the leader", k.Name, k)
		}
		if !strings.Contains(shown, k.Name.String()) || !strings.Contains(shown, string(k.Role)) {
			t.Errorf("ticket show has no %s %s:\n%s", k.Role, k.Name, shown)
		}
	}
	if want := []fleet.Role{fleet.RoleNext, fleet.RoleCurrent, fleet.RolePrevious}; !slices.Equal(roles, want) {
		t.Errorf("roles = %v, want %v", roles, want)
	}
	if !strings.Contains(shown, "no key stays in the ring longer than") {
		t.Errorf("ticket show does not bound a key's life:\n%s", shown)
	}
}

func TestRotateTicketJSON(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Nodes: 1})
	before := f.Ring(t)
	var got struct {
		Epoch   uint64
		Cause   fleet.Cause
		Current fleet.KeyName
		Proved  bool
	}
	r := f.CLI(t, "rotate-ticket", "--wait", "--format", "json").Want(t, 0)
	if err := json.Unmarshal([]byte(r.Stdout), &got); err != nil {
		t.Fatalf("%v: %s", err, r)
	}
	if got.Epoch != 2 || got.Cause != fleet.CauseCLI || !got.Proved || got.Current != before.Key(t, fleet.RoleNext) {
		t.Errorf("rotate-ticket --format json = %+v, want epoch 2 sealing with %s", got, before.Key(t, fleet.RoleNext))
	}
}
