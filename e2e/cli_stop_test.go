package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

const stopWithin = 5 * time.Second

func TestSIGTERMLeavesNginxAndServiceAlone(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Nodes: 2})
	tickets := f.Nodes[0].TakeTickets(t)
	for _, n := range f.Nodes {
		code, took := n.Agent.Stop(t)
		if code != 0 || took > stopWithin {
			t.Errorf("agent of %s ended with %d after %s, want 0 within %s", n.Name, code, took, stopWithin)
		}
		if n.Reloads() != 1 {
			t.Errorf("nginx of %s was reloaded %d times, want once, for the first ring", n.Name, n.Reloads())
		}
		if _, err := os.Stat(filepath.Join(n.RunDir, "agent.sock")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("socket of %s: %v, want it gone", n.Name, err)
		}
	}
	WantResumed(t, true, "after the agents stopped", tickets, f.Nodes...)
	if out := f.ConsulCLI(t, "catalog", "services", "-tags").Want(t, 0).Stdout; !strings.Contains(out, f.Name) {
		t.Errorf("services = %q, want the fleet's among them", out)
	}
	s := f.Status(t)
	for _, n := range f.Nodes {
		if st := s.Node(t, n.Name); st.Alive || !st.Waiting {
			t.Errorf("%s = %+v, want it silent and in service", n.Name, st)
		}
	}
	if s.Leader != "" {
		t.Errorf("leader = %q, want none", s.Leader)
	}
	if left, _, err := f.Consul.Client(t).Session().List(nil); err != nil || len(left) > 0 {
		t.Errorf("sessions in Consul = %d, %v, want none", len(left), err)
	}
}

func TestSIGTERMWhileAReloadWaits(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Nodes: 1, Settings: Settings{"reload.splay": "1s", "reload.min_interval": "1h"}})
	n := f.Nodes[0]
	f.CLI(t, "rotate-ticket").Want(t, 0)
	AwaitLog(t, n.Agent, "reload scheduled", "epoch 2")
	if code, took := n.Agent.Stop(t); code != 0 || took > stopWithin {
		t.Errorf("agent ended with %d after %s, want 0 within %s", code, took, stopWithin)
	}
	n.StartAgent(t) // it forgets when the last reload was
	f.AwaitProved(t, 2)
}

func TestSIGTERMWhileConsulHangs(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Nodes: 1})
	f.Consul.Freeze(t)
	code, took := f.Nodes[0].Agent.Stop(t)
	f.Consul.Thaw(t)
	if code != 0 || took > stopWithin {
		t.Errorf("agent ended with %d after %s, want 0 within %s", code, took, stopWithin)
	}
}

// TestSIGTERMWhileNginxHangs has a nginx that is a script, which leaves what it
// started behind when it is killed. It runs alone: most of the five seconds are
// the agent's own waiting for nginx.
func TestSIGTERMWhileNginxHangs(t *testing.T) {
	f := NewFleet(t, FleetOptions{Nodes: 1, Idle: true})
	n, dir := f.Nodes[0], t.TempDir()
	hold, asked, script := filepath.Join(dir, "hold"), filepath.Join(dir, "asked"), filepath.Join(dir, "nginx")
	text := fmt.Sprintf("#!/bin/sh\ncase \" $* \" in *\" -t \"*) sh -c '[ -e %[1]s ] && : > %[2]s; while [ -e %[1]s ]; do sleep 0.1; done'; esac\nexec %[3]s \"$@\"\n", hold, asked, n.Nginx.Binary)
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	n.Settings["nginx.binary"] = script
	n.WriteConfig(t)
	f.startAll(t)
	f.AwaitProved(t, 1)
	if err := os.WriteFile(hold, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.CLI(t, "rotate-ticket").Want(t, 0)
	testkit.Eventually(t, settle, "nginx -t to hang", func() error {
		_, err := os.Stat(asked)
		return err
	})
	code, took := n.Agent.Stop(t)
	if err := os.Remove(hold); err != nil {
		t.Fatal(err)
	}
	if code != 0 || took > stopWithin {
		t.Errorf("agent ended with %d after %s, want 0 within %s", code, took, stopWithin)
	}
}
