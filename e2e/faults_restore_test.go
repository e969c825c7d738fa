package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// reboot ends agent and nginx and empties tmpfs, as a reboot does.
func (n *Node) reboot(t *testing.T) {
	t.Helper()
	n.Agent.Kill(t)
	n.Nginx.Stop(t)
	entries, err := os.ReadDir(n.RunDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(n.RunDir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

// restore runs tlsfleet restore, which waits so long for Consul, then starts
// nginx, which must work.
func (n *Node) restore(t *testing.T, wait string) agent.Restored {
	t.Helper()
	r := n.CLI(t, "restore", "--wait", wait, "--format", "json").Want(t, 0)
	var res agent.Restored
	if err := json.Unmarshal([]byte(r.Stdout), &res); err != nil {
		t.Fatalf("%v: %s", err, r)
	}
	if err := n.Nginx.TryStart(); err != nil {
		t.Fatalf("start nginx after %s: %v", r, err)
	}
	return res
}

// localCopy is the sealed ring of the active release.
func (n *Node) localCopy() string {
	return filepath.Join(n.StateDir, "nginx", "current", "ring.sealed")
}

// TestRestoreWithConsulDown boots a node while Consul is away. Then Consul
// comes back, and the node uses the fleet's ring.
func TestRestoreWithConsulDown(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		before func(*testing.T, *Fleet, *Node)
		mode   fleet.Mode
		source string
		note   string
	}{
		"sealed local copy": {func(*testing.T, *Fleet, *Node) {}, fleet.ModeRing, "local copy", "refused"},
		"local copy lost": {func(t *testing.T, _ *Fleet, n *Node) {
			if err := os.Remove(n.localCopy()); err != nil {
				t.Fatal(err)
			}
		}, fleet.ModePerHost, "none", "refused"},
		"local copy of another keyring": {func(t *testing.T, f *Fleet, n *Node) {
			record := f.sealed(t, anotherKeyring(t), f.Name, f.ringPath(), "{}")
			if err := os.WriteFile(n.localCopy(), record, 0o600); err != nil {
				t.Fatal(err)
			}
		}, fleet.ModePerHost, "none", "key"},
		"local copy cut short": {func(t *testing.T, _ *Fleet, n *Node) {
			if err := os.Truncate(n.localCopy(), 30); err != nil {
				t.Fatal(err)
			}
		}, fleet.ModePerHost, "none", "refused"},
		"local copy stale": {func(t *testing.T, _ *Fleet, n *Node) {
			n.Settings["ticket.stale_after"] = "1s"
			n.WriteConfig(t)
			begin := time.Now()
			testkit.Eventually(t, settle, "the key to be older than that", func() error {
				if age := time.Since(begin); age < 2*time.Second {
					return fmt.Errorf("it is at least %s old", age)
				}
				return nil
			})
		}, fleet.ModePerHost, "none", "refused"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, n, proxy := behindProxy(t, nil)
			ticket := f.Nodes[0].TakeTickets(t)
			proxy.Set(testkit.Rule{Fault: testkit.Cut})
			n.reboot(t)
			tt.before(t, f, n)
			res := n.restore(t, "2s")
			if res.Mode != tt.mode || res.Source != tt.source || res.Note == "" {
				t.Errorf("restore = %+v, want mode %s from %s with a note", res, tt.mode, tt.source)
			}
			WantResumed(t, tt.mode == fleet.ModeRing, "after the boot", ticket, n)
			n.StartAgent(t)
			n.AwaitProblem(t, "consul-unreachable")
			if tt.mode == fleet.ModePerHost {
				WantProblem(t, n.AwaitProblem(t, "per-host-keys"), fleet.Alarm, "keys of its own")
			} else {
				n.WantSeals(t, "after the boot", f.sealsNow(t))
			}
			delete(n.Settings, "ticket.stale_after")
			n.WriteConfig(t)
			breaks(proxy)
			f.AwaitBack(t, 1)
			WantResumed(t, true, "with Consul back", ticket, n)
		})
	}
}

// TestRestoreTakesTheNewerRingFromConsul boots a node that missed a rotation.
func TestRestoreTakesTheNewerRingFromConsul(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, onShared(t, 2, nil))
	n := f.Nodes[1]
	n.Drain(t, true)
	n.reboot(t)
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	if res := n.restore(t, "30s"); res.Mode != fleet.ModeRing || res.Source != "consul" || res.Epoch != 2 {
		t.Errorf("restore = %+v, want the ring of epoch 2 from Consul", res)
	}
	n.WantSeals(t, "after the boot", f.sealsNow(t))
	n.StartAgent(t)
	n.Drain(t, false)
	f.AwaitBack(t, 2)
}

// TestRestoreRefusesAnOlderRing boots a node whose Consul came back from an
// old snapshot.
func TestRestoreRefusesAnOlderRing(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, onShared(t, 1, nil))
	n := f.Nodes[0]
	old := f.StoredRing(t)
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	current := f.sealsNow(t)
	n.reboot(t)
	f.PlantRing(t, old)
	res := n.restore(t, "30s")
	if res.Source != "local copy" || res.Epoch != 2 || !strings.Contains(res.Note, "older") {
		t.Errorf("restore = %+v, want epoch 2 from the local copy, with why", res)
	}
	n.WantSeals(t, "after the boot", current)
	n.StartAgent(t)
	f.AwaitBack(t, 2)
}

// TestAgentMendsEmptiedTmpfs empties tmpfs under a running agent and nginx.
func TestAgentMendsEmptiedTmpfs(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, onShared(t, 1, Settings{"nginx.reprove_every": "1s"}))
	n := f.Nodes[0]
	before := n.KeyFiles(t)
	// In one step, because the agent writes there.
	if err := os.Rename(filepath.Join(n.RunDir, "tickets"), filepath.Join(testkit.TmpfsDir(t), "tickets")); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, settle, "the key files", func() error {
		if got := n.KeyFiles(t); len(got) != len(before) {
			return fmt.Errorf("%d of %d are there", len(got), len(before))
		}
		return nil
	})
	if err := n.Nginx.Test(t); err != nil {
		t.Errorf("nginx -t = %v, want nil", err)
	}
}

// TestAgentMendsLostLocalCopy starts an agent after a boot at which nobody ran
// restore and the sealed copy is gone too.
func TestAgentMendsLostLocalCopy(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, onShared(t, 1, nil))
	n := f.Nodes[0]
	before := n.KeyFiles(t)
	n.reboot(t)
	if err := os.Remove(n.localCopy()); err != nil {
		t.Fatal(err)
	}
	n.StartAgent(t)
	n.AwaitReload(t, fleet.ReloadNotRunning, 1, 0)
	testkit.Eventually(t, settle, "key files and the sealed copy", func() error {
		if got := n.KeyFiles(t); len(got) != len(before) {
			return fmt.Errorf("%d of %d key files are there", len(got), len(before))
		}
		_, err := os.Stat(n.localCopy())
		return err
	})
	n.Nginx.Start(t)
	f.AwaitBack(t, 1)
}
