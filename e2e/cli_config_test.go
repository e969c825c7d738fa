package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

func TestChangedFileTakesEffect(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Nodes: 1, Settings: Settings{"log.level": "info"}})
	n := f.Nodes[0]
	if CountLog(n.Agent, "[DEBUG]") > 0 {
		t.Fatalf("the agent logs at level debug:\n%s", n.Agent.Log())
	}
	n.Settings["log.level"] = "debug"
	n.WriteConfig(t)
	AwaitLog(t, n.Agent, "configuration changed")
	AwaitLog(t, n.Agent, "[DEBUG]", "ring read")
	n.Settings["log.format"] = "json"
	n.WriteConfig(t)
	AwaitLog(t, n.Agent, `"@message":"configuration changed"`)
	f.AwaitProved(t, 1)
	if n.Reloads() != 1 {
		t.Errorf("nginx was reloaded %d times, want once, for the first ring", n.Reloads())
	}
	n.Settings["ticket.rotate_every"] = "2s"
	n.Settings["ticket.session_timeout"] = "2s"
	n.Settings["ticket.apply_lag"] = "0s"
	n.WriteConfig(t)
	f.Await(t, "a rotation on schedule", func(s Status) error { // on a busy machine the next one follows each proof at once
		if s.Epoch < 2 || s.Cause != fleet.CauseSchedule {
			return fmt.Errorf("epoch is %d (%s)", s.Epoch, s.Cause)
		}
		return nil
	})
}

func TestSIGHUPReloadsTheConfiguration(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Nodes: 1, Idle: true})
	n := f.Nodes[0]
	// Behind a link nobody sees the change of the file but who is told.
	link := n.Config
	n.Config = filepath.Join(t.TempDir(), "real.hcl")
	if err := os.Rename(link, n.Config); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(n.Config, link); err != nil {
		t.Fatal(err)
	}
	written := n.Config
	n.Config = link
	n.Nginx.Start(t)
	n.StartAgent(t)
	f.AwaitProved(t, 1)

	n.Config = written
	n.Settings["nginx.reprove_every"] = "7s"
	n.WriteConfig(t)
	n.Agent.Signal(t, syscall.SIGHUP)
	AwaitLog(t, n.Agent, "configuration changed")
	f.AwaitProved(t, 1)
	const again = "configuration read again, nothing changed"
	before := CountLog(n.Agent, again)
	n.Agent.Signal(t, syscall.SIGHUP)
	testkit.Eventually(t, settle, "another look at the file", func() error {
		if CountLog(n.Agent, again) == before {
			return fmt.Errorf("no line with %q more", again)
		}
		return nil
	})
	if n.Reloads() != 1 {
		t.Errorf("nginx was reloaded %d times, want once, for the first ring", n.Reloads())
	}
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
}

func TestBrokenConfigurationIsRefused(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change Settings
		want   []string
	}{
		"unknown attribute": {Settings{"ticket.rotate_evry": "1h"}, []string{"configuration refused", "tlsfleet.hcl"}},
		"zero":              {Settings{"ticket.rotate_every": "0s"}, []string{"configuration refused", "tlsfleet.hcl"}},
		"missing keyring":   {Settings{"keyring_file": "/nonexistent/keyring"}, []string{"configuration not usable"}},
	}
	f := NewFleet(t, FleetOptions{Nodes: 2})
	n := f.Nodes[1]
	sound := n.Settings
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			n.Settings = Settings{}
			for _, s := range []Settings{sound, tt.change} {
				for k, v := range s {
					n.Settings[k] = v
				}
			}
			before := CountLog(n.Agent, tt.want...)
			n.WriteConfig(t)
			testkit.Eventually(t, settle, "the refusal", func() error {
				if CountLog(n.Agent, tt.want...) == before {
					return fmt.Errorf("no line with %q", tt.want)
				}
				return nil
			})
			n.CLI(t, "status").Want(t, 2)
			f.CLI(t, "rotate-ticket", "--wait").Want(t, 0) // both agents go on
			n.Settings = sound
			n.WriteConfig(t)
		})
	}
	if !n.Agent.Running() {
		t.Error("the agent has ended")
	}
}

func TestBrokenConfigurationAtTheStart(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Nodes: 1, Idle: true, Settings: Settings{"ticket.rotate_every": "0s"}})
	f.Nodes[0].StartAgent(t)
	if code := f.Nodes[0].Agent.Code(); code != 2 {
		t.Errorf("agent ended with %d, want 2", code)
	}
	AwaitLog(t, f.Nodes[0].Agent, "error:", "tlsfleet.hcl:", "rotate_every")
}

func TestConsulVariables(t *testing.T) {
	t.Parallel()
	consul := testkit.Consul(t, testkit.ConsulDev(), testkit.ConsulACL(), testkit.ConsulSessionTTLMin(time.Second))
	f := NewFleet(t, FleetOptions{Nodes: 1, Consul: consul}) // the file names neither address nor token
	n := f.Nodes[0]
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	wrong := "CONSUL_HTTP_TOKEN=6c0fd4d4-1b5f-4a8e-8f0c-000000000000"
	env := append(append([]string{"TLSFLEET_CONFIG=" + n.Config}, f.env...), wrong)
	if r := runToEnd(t, env, "", binary(t), "status"); r.Code != 1 || !strings.Contains(r.Stderr, "403") {
		t.Errorf("%s: want it refused by Consul", r)
	}
	if r := runToEnd(t, append(env, "CONSUL_HTTP_ADDR=127.0.0.1:1"), "", binary(t), "status"); r.Code != 1 || !strings.Contains(r.Stderr, "127.0.0.1:1") {
		t.Errorf("%s: want it to ask there", r)
	}
	// What the file says counts more.
	n.Settings["consul.token"], n.Settings["consul.address"] = consul.Token, consul.Addr
	n.WriteConfig(t)
	runToEnd(t, append(env, "CONSUL_HTTP_ADDR=127.0.0.1:1"), "", binary(t), "status").Want(t, 0)
}
