package renderer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

func TestApplyProvesRing(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{Ports: 2})
	g.nginx.Start(t)
	first, second := newRing(t, 7), newRing(t, 8)
	if a := g.active(t); a.Release != 0 {
		t.Errorf("Active() = %+v before any release, want none", a)
	}
	o := g.mustProve(t, ringRelease(first))
	if len(o.Listeners) != 2 || len(o.Problems) != 0 {
		t.Errorf("Apply() = %+v, want two listeners and no problem", o)
	}
	g.sealsWith(t, first.Current.Name())
	g.mustProve(t, ringRelease(second))
	g.sealsWith(t, second.Current.Name())
	g.wantKeyFiles(t, second)
	a := g.active(t)
	if a.Release != 2 || a.Epoch != 8 || a.Key != second.Current.Name() || !a.Good || a.Mode != fleet.ModeRing || string(a.Sealed) != "sealed 8" {
		t.Errorf("Active() = %+v, want release 2 of epoch 8, good", a)
	}
}

func TestApplyPerHostHasNoKeys(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	g.nginx.Start(t)
	g.mustProve(t, ringRelease(newRing(t, 1)))
	o := g.mustProve(t, Release{Mode: fleet.ModePerHost, Reason: "cut off"})
	if a := g.active(t); a.Mode != fleet.ModePerHost || a.Epoch != 0 || !a.Key.IsZero() || len(a.Sealed) != 0 {
		t.Errorf("Active() = %+v, want mode per-host without a ring", a)
	}
	if files := g.keyFiles(t); len(files) != 0 {
		t.Errorf("key files = %v, want none", files)
	}
	if !alive(o.Listeners[0]) {
		t.Errorf("Apply() shows %+v, want tickets of nginx's own keys", o.Listeners)
	}
}

func TestApplyKeepsOldReleaseWhenNginxRejects(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	g.nginx.Start(t)
	first := newRing(t, 1)
	g.mustProve(t, ringRelease(first))
	good := read(t, g.nginx.ConfigFile)
	write(t, g.nginx.ConfigFile, strings.Replace(good, "access_log off;", "access_log off; no_such_directive on;", 1))
	o := g.apply(t, ringRelease(newRing(t, 2)))
	if o.Reload.Result != fleet.ReloadRejected || o.Proved || !strings.Contains(o.Reload.Err, "no_such_directive") {
		t.Errorf("Apply() = %+v, want rejected for no_such_directive", o.Reload)
	}
	if !strings.Contains(o.Reload.Err, g.nginx.ConfigFile) || strings.Contains(o.Reload.Err, checkPrefix) {
		t.Errorf("Apply() = %q, want the real path %s", o.Reload.Err, g.nginx.ConfigFile)
	}
	if a := g.active(t); a.Release != 1 || !a.Good {
		t.Errorf("Active() = %+v, want release 1, good", a)
	}
	g.sealsWith(t, first.Current.Name())
	g.wantKeyFiles(t, first)
	if text := read(t, filepath.Join(g.cfg.releaseDir(2), badFile)); !strings.Contains(text, "no_such_directive") {
		t.Errorf("reason of the bad release = %q, want nginx's words", text)
	}
	write(t, g.nginx.ConfigFile, good)
	g.mustProve(t, ringRelease(newRing(t, 3)))
}

func TestApplyRollsBackWhenReloadFailsSilently(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	g.nginx.Start(t)
	first := newRing(t, 1)
	g.mustProve(t, ringRelease(first))
	taken := listenOn(t)
	good := read(t, g.nginx.ConfigFile)
	write(t, g.nginx.ConfigFile, strings.Replace(good, "access_log off;", "access_log off; server { listen "+taken+"; }", 1))
	g.cfg.VerifyTimeout = 3 * time.Second
	o := g.apply(t, ringRelease(newRing(t, 2)))
	if o.Reload.Result != fleet.ReloadRolledBack || o.Reload.Release != 2 || o.Proved || !slices.Contains(codes(o), CodeReleaseRolledBack) {
		t.Errorf("Apply() = %+v, want release 2 rolled back", o)
	}
	if want := "bind() to " + taken + " failed"; !strings.Contains(o.Reload.Err, want) || strings.Count(o.Reload.Err, want) != 1 {
		t.Errorf("Apply() = %q, want %q in it once", o.Reload.Err, want)
	}
	if a := g.active(t); a.Release != 1 || !a.Good {
		t.Errorf("Active() = %+v, want release 1, good", a)
	}
	g.sealsWith(t, first.Current.Name())
	g.wantKeyFiles(t, first)
}

func TestFirstApplyRollsBackToNoRelease(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	g.nginx.Start(t)
	taken := listenOn(t)
	g.reopen(t, func(c *Config) { c.ReleaseAddress, c.VerifyTimeout = taken, 4*time.Second })
	o := g.apply(t, ringRelease(newRing(t, 1)))
	if o.Reload.Result != fleet.ReloadRolledBack {
		t.Errorf("Apply() = %+v, want rolled back", o.Reload)
	}
	if a := g.active(t); a.Release != 0 {
		t.Errorf("Active() = %+v, want none", a)
	}
	if err := g.nginx.Test(t); err != nil {
		t.Error(err)
	}
}

func TestApplyRollsBackWhenAListenerBreaks(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{Names: []string{"_"}})
	g.nginx.Start(t)
	first := newRing(t, 1)
	g.mustProve(t, ringRelease(first))
	g.reopen(t, func(c *Config) {
		c.DefaultServers, c.VerifyTimeout = []string{g.nginx.TLSAddrs[0] + " ssl"}, 6*time.Second
	})
	o := g.apply(t, ringRelease(newRing(t, 2)))
	if o.Reload.Result != fleet.ReloadRolledBack || !strings.Contains(o.Reload.Err, g.nginx.TLSAddrs[0]) {
		t.Errorf("Apply() = %+v, want rolled back for listen %s", o.Reload, g.nginx.TLSAddrs[0])
	}
	if a := g.active(t); a.Release != 1 {
		t.Errorf("Active() = %+v, want release 1", a)
	}
}

func TestApplyAddsDefaultServersThatReject(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	g.nginx.Start(t)
	g.reopen(t, func(c *Config) { c.DefaultServers = []string{g.nginx.TLSAddrs[0] + " ssl"} })
	ring := newRing(t, 1)
	g.mustProve(t, ringRelease(ring))
	g.sealsWith(t, ring.Current.Name())
	ps := g.prove(t.Context(), []fleet.Listener{{Network: "tcp", Address: g.nginx.TLSAddrs[0], ServerName: "other.test"}})
	if alive(ps.seen[0]) {
		t.Errorf("handshake for an unknown name shows %+v, want none", ps.seen)
	}
}

func TestApplyReportsHiddenKeyWithoutRollBack(t *testing.T) {
	t.Parallel()
	own := newKey(t, newRing(t, 1).Changed)
	path := filepath.Join(t.TempDir(), "own.key")
	write(t, path, string(own.Raw.Reveal()))
	g := newRig(t, testkit.NginxOptions{Server: "ssl_session_ticket_key " + path + ";"})
	g.nginx.Start(t)
	o := g.apply(t, ringRelease(newRing(t, 1)))
	if o.Reload.Result != fleet.ReloadOK || o.Proved || !slices.Equal(codes(o), []string{CodeKeyHidden}) {
		t.Fatalf("Apply() = %+v, want ok, not proved, problem %s", o, CodeKeyHidden)
	}
	if m := o.Problems[0].Message; !strings.Contains(m, g.nginx.ConfigFile+":") {
		t.Errorf("problem = %q, want the file and line of the server", m)
	}
	if o.Reload.Took > g.cfg.VerifyTimeout/2 {
		t.Errorf("Apply() took %s, want no waiting for what cannot come", o.Reload.Took)
	}
	if a := g.active(t); !a.Good {
		t.Errorf("Active() = %+v, want good", a)
	}
}

func TestApplyWithoutInclude(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{NoInclude: true})
	g.nginx.Start(t)
	ring := newRing(t, 1)
	o := g.apply(t, ringRelease(ring))
	if o.Reload.Result != fleet.ReloadRejected || o.Proved || !slices.Equal(codes(o), []string{CodeIncludeMissing}) {
		t.Fatalf("Apply() = %+v, want rejected with %s", o, CodeIncludeMissing)
	}
	line := fmt.Sprintf("include %s/nginx/current/*.conf;", g.cfg.StateDir)
	if !strings.Contains(o.Problems[0].Hint, line) {
		t.Errorf("hint = %q, want the line %q", o.Problems[0].Hint, line)
	}
	if o, err := g.Prove(t.Context()); err != nil || o.Proved {
		t.Errorf("Prove() = %+v, %v, want not proved", o, err)
	}
	// As the hint says, and a reload by the operator's hand.
	write(t, g.nginx.ConfigFile, strings.Replace(read(t, g.nginx.ConfigFile), "access_log off;", "access_log off; "+line, 1))
	g.nginx.Signal(t, hup)
	testkit.Eventually(t, g.cfg.VerifyTimeout, "the release to be proved", func() error {
		o, err := g.Prove(t.Context())
		if err == nil && !o.Proved {
			err = fmt.Errorf("Prove() = %+v", o)
		}
		return err
	})
	if a := g.active(t); !a.Good || a.Key != ring.Current.Name() {
		t.Errorf("Active() = %+v, want good", a)
	}
}

func TestApplyWhileNginxIsNotRunning(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	ring := newRing(t, 1)
	o := g.apply(t, ringRelease(ring))
	if o.Reload.Result != fleet.ReloadNotRunning || o.Proved {
		t.Fatalf("Apply() = %+v, want not-running", o)
	}
	if o, err := g.Prove(t.Context()); err != nil || o.Proved || o.Reload.Result != fleet.ReloadNotRunning {
		t.Errorf("Prove() = %+v, %v, want not-running", o, err)
	}
	if a := g.active(t); a.Release != 1 || a.Good {
		t.Errorf("Active() = %+v, want release 1, not yet good", a)
	}
	g.nginx.Start(t)
	if o, err := g.Prove(t.Context()); err != nil || !o.Proved {
		t.Errorf("Prove() = %+v, %v, want proved", o, err)
	}
	if a := g.active(t); !a.Good {
		t.Errorf("Active() = %+v, want good", a)
	}
	g.nginx.Kill(t) // the pid file stays
	o = g.apply(t, ringRelease(newRing(t, 2)))
	if o.Reload.Result != fleet.ReloadNotRunning {
		t.Errorf("Apply() = %+v with the pid file of a dead nginx, want not-running", o.Reload)
	}
}

func TestApplyKeepsFewReleases(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	for epoch := range uint64(8) {
		g.apply(t, ringRelease(newRing(t, epoch+1)))
	}
	numbers, err := g.releases()
	if err != nil || !slices.Equal(numbers, []uint64{5, 6, 7, 8}) {
		t.Errorf("releases on disk = %v, %v, want 5 to 8", numbers, err)
	}
}

func TestApplyRefusesUnusableRings(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	good := newRing(t, 1)
	short, zero, twice := good, good, good
	short.Next.Raw = fleet.NewSecret(make([]byte, 47))
	zero.Next.Raw = fleet.NewSecret(make([]byte, 80))
	twice.Previous = []fleet.TicketKey{good.Current}
	for name, ring := range map[string]fleet.Ring{"size": short, "zero name": zero, "one name twice": twice, "no keys": {}} {
		if o, err := g.Apply(t.Context(), ringRelease(ring)); !errors.Is(err, ErrRing) || o.Reload.Result != fleet.ReloadRejected {
			t.Errorf("Apply(%s) = %+v, %v, want %v", name, o.Reload, err, ErrRing)
		}
	}
	if _, err := g.Apply(t.Context(), Release{}); err == nil {
		t.Error("Apply(no mode) = nil, want an error")
	}
	if files := g.keyFiles(t); len(files) != 0 {
		t.Errorf("key files = %v, want none", files)
	}
	if _, err := os.Lstat(g.cfg.currentDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("current exists: %v", err)
	}
}
