package renderer

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/agent/ticket"
)

// TestKilledAtAnyStep kills an agent after each step of Apply: nginx must be
// able to start from what is on disk, and the next agent must repair it.
func TestKilledAtAnyStep(t *testing.T) {
	t.Parallel()
	for _, step := range Steps() {
		for name, between := range map[string]func(*testing.T, *rig){
			"nginx runs on": func(*testing.T, *rig) {},
			"nginx restarts": func(t *testing.T, g *rig) {
				g.nginx.Stop(t)
				g.nginx.Start(t)
			},
			"nginx is down": func(t *testing.T, g *rig) { g.nginx.Stop(t) },
		} {
			t.Run(step+", "+name, func(t *testing.T) {
				t.Parallel()
				testKilledAt(t, step, between)
			})
		}
	}
}

func testKilledAt(t *testing.T, step string, between func(*testing.T, *rig)) {
	g := newRig(t, testkit.NginxOptions{})
	g.nginx.Start(t)
	first, second := newRing(t, 1), newRing(t, 2)
	g.mustProve(t, ringRelease(first))
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	killAt(t, step, g.cfg, second)
	if err := g.nginx.Test(t); err != nil {
		t.Errorf("after a kill at %s: %v", step, err)
	}
	between(t, g)

	g.reopen(t)
	rings := map[uint64]fleet.Ring{1: first, 2: second}
	if err := g.WriteKeys(rings[g.active(t).Epoch]); err != nil {
		t.Fatalf("WriteKeys() = %v", err)
	}
	o := g.recover(t)
	active := g.active(t)
	want := fleet.ReloadOK
	if g.nginx.PID() == 0 {
		want = fleet.ReloadNotRunning
		g.nginx.Start(t)
		var err error
		if o, err = g.Prove(t.Context()); err != nil {
			t.Fatalf("Prove() = %v", err)
		}
		active = g.active(t)
	}
	if o.Reload.Result != want && o.Reload.Result != fleet.ReloadNone || !o.Proved || !active.Good {
		t.Errorf("Recover() = %+v with active %+v, want %s, proved and good", o, active, want)
	}
	g.sealsWith(t, rings[active.Epoch].Current.Name())
	g.mustProve(t, ringRelease(second))
	g.wantKeyFiles(t, second)
}

// killAt lets another process apply ring and die after step.
func killAt(t *testing.T, step string, cfg Config, ring fleet.Ring) {
	t.Helper()
	raw, err := ticket.Encode(ring)
	if err != nil {
		t.Fatal(err)
	}
	ringFile := filepath.Join(testkit.TmpfsDir(t), "ring")
	write(t, ringFile, string(raw))
	text, err := json.Marshal(crash{Step: step, RingFile: ringFile, Config: crashConfig{
		Binary: cfg.Binary, ConfigFile: cfg.ConfigFile, PIDFile: cfg.PIDFile,
		StateDir: cfg.StateDir, RunDir: cfg.RunDir, ReleaseAddress: cfg.ReleaseAddress, VerifyTimeout: cfg.VerifyTimeout,
	}})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), crashEnv+"="+string(text))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("run agent: %v\n%s", err, out)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("run agent: %v, want killed at %s\n%s", err, step, out)
	}
}
