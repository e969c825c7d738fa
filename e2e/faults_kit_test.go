package e2e

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/status"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// Report is what the node's agent says now, asked on its socket: it answers
// with Consul away too.
func (n *Node) Report(t *testing.T) (fleet.Report, error) {
	socket := filepath.Join(n.RunDir, "agent.sock")
	if s, ok := n.Settings["socket"].(string); ok {
		socket = s
	}
	return status.NewClient(socket).Report(t.Context())
}

// AwaitReport waits until cond accepts the node's own report, and returns it.
func (n *Node) AwaitReport(t *testing.T, what string, cond func(fleet.Report) error) fleet.Report {
	t.Helper()
	var r fleet.Report
	testkit.Eventually(t, settle, n.Name+": "+what, func() error {
		var err error
		if r, err = n.Report(t); err != nil {
			return err
		}
		return cond(r)
	})
	return r
}

// AwaitProblem waits until the node itself reports a problem with this code.
func (n *Node) AwaitProblem(t *testing.T, code string) fleet.Problem {
	t.Helper()
	var found fleet.Problem
	n.AwaitReport(t, "problem "+code, func(r fleet.Report) error {
		var ok bool
		if found, ok = (NodeStatus{Report: &r}).Problem(code); !ok {
			return fmt.Errorf("problems are %+v", r.Problems)
		}
		return nil
	})
	return found
}

// AwaitNoProblem waits until the node proves its ring and has no problem.
func (n *Node) AwaitNoProblem(t *testing.T) {
	t.Helper()
	n.AwaitReport(t, "no problem", func(r fleet.Report) error {
		if r.Mode != fleet.ModeRing || r.Proved == 0 || len(r.Problems) > 0 {
			return fmt.Errorf("mode %q, proved %d, problems %+v", r.Mode, r.Proved, r.Problems)
		}
		return nil
	})
}

// WantProblem fails the test unless the problem has this severity and all the
// words in its message.
func WantProblem(t *testing.T, p fleet.Problem, severity fleet.Severity, words ...string) {
	t.Helper()
	for _, w := range words {
		if p.Severity != severity || !strings.Contains(p.Message, w) {
			t.Errorf("problem %s is a %s: %q, want a %s with %q", p.Code, p.Severity, p.Message, severity, w)
		}
	}
}

// held is what a node has in force.
type held struct {
	release uint64
	seals   fleet.KeyName
	files   map[string][]byte
}

// Held looks at what the node has in force.
func (n *Node) Held(t *testing.T) held {
	t.Helper()
	r, err := n.Report(t)
	if err != nil {
		t.Fatal(err)
	}
	return held{r.Release, n.SealsWith(t), n.KeyFiles(t)}
}

// WantHeld fails the test unless the node still has in force what it had.
func (n *Node) WantHeld(t *testing.T, when string, want held) {
	t.Helper()
	got := n.Held(t)
	if got.release != want.release || got.seals != want.seals || !maps.EqualFunc(got.files, want.files, bytes.Equal) {
		t.Errorf("%s: %s has release %d, seals with %s and %d key files, want as before release %d, %s and %d", when, n.Name,
			got.release, got.seals, len(got.files), want.release, want.seals, len(want.files))
	}
}

// WantSeals fails the test unless the node's nginx seals with this key.
func (n *Node) WantSeals(t *testing.T, when string, want fleet.KeyName) {
	t.Helper()
	if got := n.SealsWith(t); got != want {
		t.Errorf("%s: %s seals with %s, want %s", when, n.Name, got, want)
	}
}

// Drain takes the node out of service in Consul, or puts it back.
func (n *Node) Drain(t *testing.T, drained bool) {
	t.Helper()
	a := n.fleet.Consul.Client(t).Agent()
	err := a.DisableServiceMaintenance(n.ServiceID())
	if drained {
		err = a.EnableServiceMaintenance(n.ServiceID(), "test")
	}
	if err != nil {
		t.Fatal(err)
	}
}

// EditNginx replaces text in the node's nginx.conf.
func (n *Node) EditNginx(t *testing.T, before, after string) {
	t.Helper()
	text, err := os.ReadFile(n.Nginx.ConfigFile)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), before) {
		t.Fatalf("edit %s: it has no %q", n.Nginx.ConfigFile, before)
	}
	edited := strings.Replace(string(text), before, after, 1)
	if err := os.WriteFile(n.Nginx.ConfigFile, []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
}

// ringPath is where the fleet's ring lives in KV.
func (f *Fleet) ringPath() string { return "tlsfleet/" + f.Name + "/tickets/ring" }

// StoredRing is the ring's record as it stands in KV.
func (f *Fleet) StoredRing(t *testing.T) []byte {
	t.Helper()
	pair, _, err := f.Consul.Client(t).KV().Get(f.ringPath(), nil)
	if err != nil || pair == nil {
		t.Fatalf("read %s: %v, %v", f.ringPath(), pair, err)
	}
	return pair.Value
}

// PlantRing writes a record over the fleet's ring, as nobody should.
func (f *Fleet) PlantRing(t *testing.T, record []byte) {
	t.Helper()
	if _, err := f.Consul.Client(t).KV().Put(&api.KVPair{Key: f.ringPath(), Value: record}, nil); err != nil {
		t.Fatal(err)
	}
}

// sealsNow is the name of the key with which the ring in KV says to seal.
func (f *Fleet) sealsNow(t *testing.T) fleet.KeyName {
	t.Helper()
	return f.Ring(t).Key(t, fleet.RoleCurrent)
}

// onShared is a fleet of this size on the Consul that tests share.
func onShared(t *testing.T, nodes int, settings Settings) FleetOptions {
	t.Helper()
	return FleetOptions{Nodes: nodes, Consul: testkit.SharedConsul(t), Settings: settings}
}
