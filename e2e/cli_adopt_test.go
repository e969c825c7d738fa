package e2e

import (
	"crypto/rand"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func TestKeyFileIsAdopted(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Nodes: 2})
	traffic := f.StartTraffic(t)
	tests := map[string]struct {
		size   int
		encode func([]byte) []byte
	}{
		"48 raw":    {48, func(b []byte) []byte { return b }},
		"80 raw":    {80, func(b []byte) []byte { return b }},
		"80 base64": {80, func(b []byte) []byte { return []byte(base64.StdEncoding.EncodeToString(b) + "\n") }},
	}
	for name, tt := range tests {
		key := make([]byte, tt.size)
		rand.Read(key)
		file := filepath.Join(f.Dir, "key")
		if err := os.WriteFile(file, tt.encode(key), 0o600); err != nil {
			t.Fatal(err)
		}
		before := f.Ring(t)
		tickets := f.Nodes[0].TakeTickets(t)
		f.CLI(t, "rotate-ticket", "--key-file", file, "--wait").Want(t, 0)
		ring := f.Ring(t)
		if ring.Epoch != before.Epoch+2 || ring.Cause != fleet.CausePromote {
			t.Errorf("%s: ring = %+v, want epoch %d (promote)", name, ring, before.Epoch+2)
		}
		for _, k := range ring.Keys {
			if k.Role == fleet.RoleCurrent && (k.Origin != fleet.OriginFile || k.Bits != map[int]int{48: 128, 80: 256}[tt.size]) {
				t.Errorf("%s: current key = %+v, want it from the file", name, k)
			}
		}
		for _, n := range f.Nodes {
			if got, want := n.SealsWith(t), fleet.KeyName(key[:fleet.KeyNameSize]); got != want {
				t.Errorf("%s: %s seals with %s, want %s", name, n.Name, got, want)
			}
		}
		WantResumed(t, true, name, tickets, f.Nodes...)
		// The same again is done already.
		f.CLI(t, "rotate-ticket", "--key-file", file, "--wait").Want(t, 0)
		if got := f.Ring(t).Epoch; got != ring.Epoch {
			t.Errorf("%s: epoch = %d after the same key again, want %d", name, got, ring.Epoch)
		}
	}
	traffic.Stop(t)
}

func TestUsedKeyIsNotAdoptedAgain(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Nodes: 1})
	key := make([]byte, 48)
	rand.Read(key)
	f.Nodes[0].CLIWithInput(t, string(key), "rotate-ticket", "--key-file", "-", "--wait").Want(t, 0)
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	epoch := f.Ring(t).Epoch
	r := f.Nodes[0].CLIWithInput(t, string(key), "rotate-ticket", "--key-file", "-", "--wait").Want(t, 1)
	if got := f.Ring(t).Epoch; got != epoch {
		t.Errorf("epoch = %d after a used key, want %d: %s", got, epoch, r)
	}
}

func TestEmergencyMakesOldTicketsWorthless(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Settings: Settings{"reload.splay": "30s"}, Idle: true})
	f.startFast(t)
	tickets := f.Nodes[0].TakeTickets(t)
	WantResumed(t, true, "before the emergency", tickets, f.Nodes...)
	before := f.Ring(t)
	files := f.Nodes[0].KeyFiles(t)
	r := f.CLI(t, "rotate-ticket", "--emergency", "--timeout", "20s").Want(t, 0)
	if !strings.Contains(r.Stdout, "proved by every node in service") {
		t.Errorf("%s: want it to say that every node confirmed", r)
	}
	WantResumed(t, false, "after the emergency", tickets, f.Nodes...)
	after := f.Ring(t)
	if after.Cause != fleet.CauseEmergency || len(after.Keys) != 2 {
		t.Errorf("ring = %+v, want 2 keys (emergency)", after)
	}
	for _, k := range after.Keys {
		for _, old := range before.Keys {
			if k.Name == old.Name {
				t.Errorf("key %s is in the ring after the emergency", k.Name)
			}
		}
	}
	for name := range f.Nodes[0].KeyFiles(t) {
		if _, old := files[name]; old {
			t.Errorf("key file %s is there after the emergency", name)
		}
	}
	WantResumed(t, true, "new tickets", f.Nodes[0].TakeTickets(t), f.Nodes...)
}

// startFast starts a fleet whose settings make every reload slow, but the first
// one.
func (f *Fleet) startFast(t *testing.T) {
	t.Helper()
	for _, n := range f.Nodes {
		splay := n.Settings["reload.splay"]
		n.Settings["reload.splay"] = "0s"
		n.WriteConfig(t)
		n.Settings["reload.splay"] = splay
		n.Nginx.Start(t)
		n.StartAgent(t)
	}
	f.AwaitProved(t, 1)
	for _, n := range f.Nodes {
		n.WriteConfig(t)
		AwaitLog(t, n.Agent, "configuration changed")
	}
	f.AwaitProved(t, 1)
}

func TestEmergencyNamesTheNodeThatHasNotConfirmed(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{})
	tickets := f.Nodes[0].TakeTickets(t)
	f.Nodes[2].Agent.Stop(t)
	r := f.CLI(t, "rotate-ticket", "--emergency", "--timeout", "15s").Want(t, 1)
	if !strings.Contains(r.Stderr, "node3 (no report") || strings.Contains(r.Stderr, "node1 (") || strings.Contains(r.Stderr, "node2 (") {
		t.Errorf("%s: want it to name node3 alone", r)
	}
	WantResumed(t, false, "where the emergency is confirmed", tickets, f.Nodes[:2]...)
	f.Nodes[2].StartAgent(t)
	f.AwaitProved(t, 2)
	WantResumed(t, false, "everywhere", tickets, f.Nodes...)
}
