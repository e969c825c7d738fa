package renderer

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

func TestRestoreMakesNginxStartable(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	ring := newRing(t, 3)
	if err := g.Restore(t.Context(), ringRelease(ring)); err != nil {
		t.Fatalf("Restore() = %v", err)
	}
	g.nginx.Start(t)
	if o := g.recover(t); !o.Proved || o.Reload.Result != fleet.ReloadOK {
		t.Errorf("Recover() = %+v, want proved", o)
	}
	g.sealsWith(t, ring.Current.Name())
}

func TestRestoreAfterEmptiedTmpfs(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	g.apply(t, ringRelease(newRing(t, 1)))
	if err := os.RemoveAll(g.cfg.ticketsDir()); err != nil {
		t.Fatal(err)
	}
	g.reopen(t)
	ring := newRing(t, 2)
	if err := g.Restore(t.Context(), ringRelease(ring)); err != nil {
		t.Fatalf("Restore() = %v", err)
	}
	g.nginx.Start(t)
	g.sealsWith(t, ring.Current.Name())
}

func TestRestoreKeepsLastReleaseWhenNginxRefuses(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	first := newRing(t, 1)
	g.apply(t, ringRelease(first))
	g.reopen(t, func(c *Config) { c.DefaultServers = []string{g.nginx.TLSAddrs[0] + " ssl no_such_parameter"} })
	err := g.Restore(t.Context(), ringRelease(newRing(t, 2)))
	if err == nil || !strings.Contains(err.Error(), "no_such_parameter") {
		t.Errorf("Restore() = %v, want it refused for no_such_parameter", err)
	}
	if want := fmt.Sprintf("%s/nginx/2/20-default.conf", g.cfg.StateDir); err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("Restore() = %v, want the staged file named: %s", err, want)
	}
	if a := g.active(t); a.Release != 1 || a.Key != first.Current.Name() {
		t.Errorf("Active() = %+v, want release 1", a)
	}
	g.wantKeyFiles(t, first)
	g.nginx.Start(t)
	g.sealsWith(t, first.Current.Name())
}

func TestRestoreWithoutInclude(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{NoInclude: true})
	if err := g.Restore(t.Context(), ringRelease(newRing(t, 1))); !errors.Is(err, ErrNotIncluded) {
		t.Errorf("Restore() = %v, want %v", err, ErrNotIncluded)
	}
	if a := g.active(t); a.Release != 1 {
		t.Errorf("Active() = %+v, want release 1 in place", a)
	}
}

func TestRecoverWithoutReleaseDoesNothing(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	if o := g.recover(t); o.Reload.Result != fleet.ReloadNone || o.Proved {
		t.Errorf("Recover() = %+v, want nothing", o)
	}
}

func TestRecoverGoesBackToGood(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	g.nginx.Start(t)
	first := newRing(t, 1)
	g.mustProve(t, ringRelease(first))
	tests := map[string]func() error{
		"current is lost": func() error { return unlink(g.cfg.releasesDir(), currentLink) },
		"current dangles": func() error { return flip(g.cfg.releasesDir(), currentLink, "77") },
		"current is refused": func() error {
			if err := os.MkdirAll(g.cfg.releaseDir(50), 0o750); err != nil {
				return err
			}
			write(t, g.cfg.releaseDir(50)+"/"+manifestFile, `{"release": 50, "mode": "ring"}`)
			write(t, g.cfg.releaseDir(50)+"/00-tickets.conf", "no_such_directive;\n")
			return flip(g.cfg.releasesDir(), currentLink, "50")
		},
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			g.reopen(t)
			if o := g.recover(t); !o.Proved {
				t.Errorf("Recover() = %+v, want proved", o)
			}
			if a := g.active(t); a.Release != 1 || !a.Good {
				t.Errorf("Active() = %+v, want release 1, good", a)
			}
			g.sealsWith(t, first.Current.Name())
		})
	}
}

func TestProveSeesAnotherRelease(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	g.nginx.Start(t)
	g.mustProve(t, ringRelease(newRing(t, 1)))
	g.nginx.Stop(t)
	g.apply(t, ringRelease(newRing(t, 2)))
	if err := g.setCurrent(1); err != nil {
		t.Fatal(err)
	}
	g.nginx.Start(t)
	if err := g.setCurrent(2); err != nil {
		t.Fatal(err)
	}
	o, err := g.Prove(t.Context())
	if got := codes(o); err != nil || o.Proved || len(got) != 2 || got[0] != CodeReleaseUnserved || got[1] != CodeListenerUnproved {
		t.Errorf("Prove() = %+v, %v, want %s and %s", o, err, CodeReleaseUnserved, CodeListenerUnproved)
	}
	if o := g.recover(t); !o.Proved {
		t.Errorf("Recover() = %+v, want proved", o)
	}
}

// TestCloseUnlocksForAChild has a process being started, which holds the
// files of its parent for a moment.
func TestCloseUnlocksForAChild(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	child, err := syscall.Dup(int(g.lock.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	g.reopen(t)
	if err := syscall.Close(child); err != nil {
		t.Error(err)
	}
	if _, err := New(g.cfg, nil); !errors.Is(err, ErrLocked) {
		t.Errorf("New() = %v, want %v", err, ErrLocked)
	}
}
