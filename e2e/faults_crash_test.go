package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// crashEnv makes the test binary an agent that kills itself: the step, the
// file that must exist for it, and the configuration, each on a line.
const crashEnv = "TLSFLEET_E2E_CRASH"

func init() {
	if spec := os.Getenv(crashEnv); spec != "" {
		if err := crashAgent(strings.Split(spec, "\n")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// crashAgent runs an agent until it comes to the step while armed exists.
func crashAgent(spec []string) error {
	if len(spec) != 3 {
		return errors.New("read " + crashEnv + ": three lines are wanted")
	}
	step, armed, file := spec[0], spec[1], spec[2]
	cfg, err := config.Load(file)
	if err != nil {
		return err
	}
	return agent.Supervise(context.Background(), file, cfg, nil, agent.Options{
		Version: "crash", Log: hclog.New(&hclog.LoggerOptions{Level: hclog.Debug}),
		OnStep: func(s string) {
			if _, err := os.Stat(armed); s != step || err != nil {
				return
			}
			if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
				panic(err)
			}
			select {}
		},
	})
}

// TestAgentKilledAtAnyStep kills the whole agent after each step of a release:
// nginx can be started from what is on disk, and the next agent proves the
// ring.
func TestAgentKilledAtAnyStep(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*testing.T, *Node){
		"nginx runs on": func(*testing.T, *Node) {},
		"nginx restarts": func(t *testing.T, n *Node) {
			n.Nginx.Stop(t)
			n.Nginx.Start(t)
		},
		"nginx is down meanwhile": func(t *testing.T, n *Node) { n.Nginx.Stop(t) },
	}
	for name, between := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := onShared(t, 1, nil)
			o.Idle = true
			f := NewFleet(t, o)
			n := f.Nodes[0]
			n.Nginx.Start(t)
			for i, step := range renderer.Steps() {
				n.crashAt(t, step, uint64(i)+1)
				between(t, n)
			}
			n.StartAgent(t)
			n.Nginx.Start(t)
			f.AwaitProved(t, uint64(len(renderer.Steps()))+1)
			n.WantSeals(t, "at the end", f.sealsNow(t))
		})
	}
}

// startMortal starts an agent that dies at step once the file armed is there.
func (n *Node) startMortal(t *testing.T, step string) (armed string) {
	t.Helper()
	armed = filepath.Join(t.TempDir(), "armed")
	spec := strings.Join([]string{step, armed, n.Config}, "\n")
	n.Agent = startChild(t, "agent to die at "+step, filepath.Join(n.Nginx.Dir, step+".log"), append([]string{crashEnv + "=" + spec}, n.fleet.env...), os.Args[0])
	testkit.Eventually(t, settle, "the socket of the agent to die at "+step, func() error {
		_, err := n.Report(t)
		return err
	})
	return armed
}

// crashAt starts an agent that has to prove the ring with this epoch first,
// whatever the agent before left, and that dies at step in the rotation to the
// next one.
func (n *Node) crashAt(t *testing.T, step string, epoch uint64) {
	t.Helper()
	armed := n.startMortal(t, step)
	n.Nginx.Start(t) // if the test has stopped it
	n.fleet.AwaitProved(t, epoch)
	before := n.fleet.Ring(t)
	n.WantSeals(t, "before "+step, before.Key(t, fleet.RoleCurrent))
	if err := os.WriteFile(armed, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n.CLI(t, "rotate-ticket").Want(t, 0)
	testkit.Eventually(t, settle, "the death at "+step, func() error {
		if n.Agent.Running() {
			return errors.New("it runs")
		}
		return nil
	})
	if code := n.Agent.Code(); code != -1 {
		t.Fatalf("agent to die at %s ended with %d, want by a signal:\n%s", step, code, n.Agent.Log())
	}
	if err := n.Nginx.Test(t); err != nil {
		t.Errorf("nginx -t after a death at %s: %v", step, err)
	}
	got := n.SealsWith(t)
	if got != before.Key(t, fleet.RoleCurrent) && got != before.Key(t, fleet.RoleNext) {
		t.Errorf("nginx seals with %s after a death at %s, want the key before or after the rotation", got, step)
	}
}
