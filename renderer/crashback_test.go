package renderer

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// TestKilledInARollBack kills an agent whose release nginx cannot serve, from
// the flip to the end of the roll-back: the next agent goes on with the
// release before, or without any.
func TestKilledInARollBack(t *testing.T) {
	t.Parallel()
	const runsOn = "nginx runs on"
	tests := map[string]func(*testing.T, *rig){
		runsOn: func(*testing.T, *rig) {},
		"nginx restarts": func(t *testing.T, g *rig) {
			g.nginx.Stop(t)
			g.nginx.Start(t)
		},
		"nginx is down": func(t *testing.T, g *rig) { g.nginx.Stop(t) },
	}
	for _, step := range append([]string{StepFlipped, StepSignalled}, RollBackSteps()...) {
		for name, between := range tests {
			// An nginx that is started while the port is taken cannot have the release.
			if name != runsOn && (step == StepFlipped || step == StepSignalled) {
				continue
			}
			t.Run(step+", "+name, func(t *testing.T) {
				t.Parallel()
				testKilledInRollBack(t, step, between)
			})
		}
		t.Run(step+", the first release", func(t *testing.T) {
			t.Parallel()
			testKilledInFirstRollBack(t, step)
		})
	}
}

func testKilledInRollBack(t *testing.T, step string, between func(*testing.T, *rig)) {
	g := newRig(t, testkit.NginxOptions{})
	g.nginx.Start(t)
	first, second := newRing(t, 1), newRing(t, 2)
	g.mustProve(t, ringRelease(first))
	g.killWithTakenPort(t, step, second)
	g.sealsWith(t, first.Current.Name())
	between(t, g)

	g.reopen(t, func(c *Config) { c.VerifyTimeout = 5 * time.Second })
	if err := g.WriteKeys(first); err != nil {
		t.Fatalf("WriteKeys() = %v", err)
	}
	o := g.recover(t)
	if g.nginx.PID() == 0 {
		g.nginx.Start(t)
		var err error
		if o, err = g.Prove(t.Context()); err != nil {
			t.Fatalf("Prove() = %v", err)
		}
	} else if o.Reload.Result == fleet.ReloadRolledBack {
		o = g.recover(t) // the proof is that of what is left
	}
	if a := g.active(t); a.Release != 1 || !a.Good || !o.Proved {
		t.Errorf("Recover() = %+v with active %+v, want release 1 good and proved", o, a)
	}
	g.sealsWith(t, first.Current.Name())
	if err := g.nginx.Test(t); err != nil {
		t.Error(err)
	}
	g.mustProve(t, ringRelease(second))
	g.wantKeyFiles(t, second)
}

func testKilledInFirstRollBack(t *testing.T, step string) {
	g := newRig(t, testkit.NginxOptions{})
	g.nginx.Start(t)
	ring := newRing(t, 1)
	g.killWithTakenPort(t, step, ring)
	g.reopen(t, func(c *Config) { c.VerifyTimeout = 5 * time.Second })
	if _, err := g.Recover(t.Context()); err != nil {
		t.Fatalf("Recover() = %v", err)
	}
	if a := g.active(t); a.Release != 0 {
		t.Errorf("Active() = %+v, want none", a)
	}
	if _, err := os.Lstat(filepath.Join(g.cfg.releasesDir(), currentLink)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("current: %v, want it gone", err)
	}
	if err := g.nginx.Test(t); err != nil {
		t.Error(err)
	}
	g.mustProve(t, ringRelease(ring))
	g.wantKeyFiles(t, ring)
}

// killWithTakenPort lets another process apply ring with a release address
// that somebody else listens on, and die after step. nginx -t accepts what is
// on disk then.
func (g *rig) killWithTakenPort(t *testing.T, step string, ring fleet.Ring) {
	t.Helper()
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	cfg := g.cfg
	cfg.ReleaseAddress, cfg.VerifyTimeout = listenOn(t), 2*time.Second
	killAt(t, step, cfg, ring)
	if err := g.nginx.Test(t); err != nil {
		t.Errorf("after a kill at %s: %v", step, err)
	}
}
