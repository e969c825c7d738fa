package renderer

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	tests := map[string]struct {
		spoil func(*Config)
		want  error
		text  string
	}{
		"second agent":           {func(*Config) {}, ErrLocked, g.cfg.lockFile()},
		"keys on a disk":         {func(c *Config) { c.StateDir, c.RunDir = t.TempDir(), t.TempDir() }, ErrNotTmpfs, "keep ticket keys"},
		"relative state folder":  {func(c *Config) { c.StateDir = "state" }, nil, "state folder"},
		"relative run folder":    {func(c *Config) { c.RunDir = "run" }, nil, "run folder"},
		"relative pid file":      {func(c *Config) { c.PIDFile = "nginx.pid" }, nil, "pid file"},
		"relative configuration": {func(c *Config) { c.ConfigFile = "nginx.conf" }, nil, "configuration file"},
		"relative binary":        {func(c *Config) { c.Binary = "nginx" }, nil, "binary"},
		"unclean path":           {func(c *Config) { c.StateDir += "/../x" }, nil, "write it as"},
		"no release address":     {func(c *Config) { c.ReleaseAddress = "" }, nil, "release address"},
		"variable in a path":     {func(c *Config) { c.RunDir += "/$x" }, nil, "not allowed"},
		"a file as state folder": {func(c *Config) { c.StateDir = g.cfg.ConfigFile }, nil, "not a folder"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := g.cfg
			tt.spoil(&cfg)
			r, err := New(cfg, nil)
			if err == nil {
				t.Fatalf("New() = nil, want an error; %v", r.Close())
			}
			if tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("New() = %v, want %v naming %q", err, tt.want, tt.text)
			}
		})
	}
}

func TestNewAllowsPersistentKeysIfTold(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{}, func(c *Config) { c.RunDir, c.AllowPersistentKeys = filepath.Join(t.TempDir(), "run"), true })
	g.nginx.Start(t)
	g.mustProve(t, ringRelease(newRing(t, 1)))
}

func TestNewNarrowsFoldersAndSweeps(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	leftovers := []string{
		filepath.Join(g.cfg.releasesDir(), stagePrefix+"9", "00-tickets.conf"),
		filepath.Join(g.cfg.releasesDir(), checkPrefix+"9", "etc", "x"),
		filepath.Join(g.cfg.ticketsDir(), ".aa.key123"),
	}
	for _, path := range leftovers {
		write(t, path, "half")
	}
	for _, dir := range []string{g.cfg.StateDir, g.cfg.ticketsDir()} {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	g.reopen(t)
	for _, path := range leftovers {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("leftover %s: %v, want it gone", path, err)
		}
	}
	for dir, want := range map[string]os.FileMode{g.cfg.StateDir: 0o750, g.cfg.ticketsDir(): 0o700} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != want {
			t.Errorf("mode of %s = %v, %v, want %v", dir, info.Mode().Perm(), err, want)
		}
	}
}

func TestApplyKeepsOldReleaseWhenTmpfsIsFull(t *testing.T) {
	t.Parallel()
	// Room for folders and the two keys of the first ring, not for those of the second.
	g := newRig(t, testkit.NginxOptions{}, func(c *Config) { c.RunDir = testkit.SmallTmpfs(t, 3*os.Getpagesize()) })
	g.nginx.Start(t)
	first := newRing(t, 1)
	g.mustProve(t, ringRelease(first))
	o, err := g.Apply(t.Context(), ringRelease(newRing(t, 2)))
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "write ticket key") || o.Reload.Result != fleet.ReloadRejected {
		t.Fatalf("Apply() = %+v, %v, want %v", o.Reload, err, syscall.ENOSPC)
	}
	g.wantKeyFiles(t, first)
	if a := g.active(t); a.Release != 1 || !a.Good {
		t.Errorf("Active() = %+v, want release 1, good", a)
	}
	g.sealsWith(t, first.Current.Name())
	if err := g.nginx.Test(t); err != nil {
		t.Error(err)
	}
}

func TestApplyKeepsOldReleaseWhenStateCannotBeWritten(t *testing.T) {
	t.Parallel()
	state := testkit.SmallTmpfs(t, 1<<20)
	g := newRig(t, testkit.NginxOptions{StateDir: state})
	g.nginx.Start(t)
	first, second := newRing(t, 1), newRing(t, 2)
	g.mustProve(t, ringRelease(first))
	remount(t, state, syscall.MS_RDONLY)
	o, err := g.Apply(t.Context(), ringRelease(second))
	if !errors.Is(err, syscall.EROFS) || o.Reload.Result != fleet.ReloadRejected {
		t.Errorf("Apply() = %+v, %v, want %v", o.Reload, err, syscall.EROFS)
	}
	if err := g.SetHighWater(9); !errors.Is(err, syscall.EROFS) {
		t.Errorf("SetHighWater() = %v, want %v", err, syscall.EROFS)
	}
	if o, err := g.Prove(t.Context()); err != nil || !o.Proved {
		t.Errorf("Prove() = %+v, %v, want proved", o, err)
	}
	g.wantKeyFiles(t, first)
	remount(t, state, 0)
	g.mustProve(t, ringRelease(second))
}

func remount(t *testing.T, dir string, flags uintptr) {
	t.Helper()
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|flags, ""); err != nil {
		t.Fatalf("remount %s: %v", dir, err)
	}
}

func TestWriteKeysMendsKeyFiles(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	ring := newRing(t, 1)
	g.apply(t, ringRelease(ring))
	path := g.cfg.keyFile(ring.Current.Name())
	tests := map[string]func() error{
		"all gone":      func() error { return os.RemoveAll(g.cfg.ticketsDir()) },
		"one gone":      func() error { return os.Remove(path) },
		"other content": func() error { return os.WriteFile(path, []byte("x"), 0o600) },
		"open to all":   func() error { return os.Chmod(path, 0o644) },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			if err := g.WriteKeys(ring); err != nil {
				t.Fatalf("WriteKeys() = %v", err)
			}
			if got := read(t, path); got != string(ring.Current.Raw.Reveal()) {
				t.Errorf("key file has %d other bytes", len(got))
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode of key file = %v, %v, want 0600", info.Mode(), err)
			}
			g.wantKeyFiles(t, ring)
		})
	}
}

func TestEmptiedTmpfsIsReportedAndRestored(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	ring := newRing(t, 1)
	g.apply(t, ringRelease(ring))
	if err := os.RemoveAll(g.cfg.ticketsDir()); err != nil {
		t.Fatal(err)
	}
	if err := g.nginx.Test(t); err == nil {
		t.Fatal("nginx -t accepts a configuration without its keys: this test shows nothing")
	}
	g.reopen(t)
	o := g.recover(t)
	if got := codes(o); !slices.Contains(got, CodeKeysMissing) || !slices.Contains(got, CodeConfigRefused) {
		t.Errorf("Recover() problems = %v, want %s and %s", got, CodeKeysMissing, CodeConfigRefused)
	}
	if a := g.active(t); a.Release != 1 {
		t.Errorf("Active() = %+v, want release 1 kept", a)
	}
	if err := g.WriteKeys(ring); err != nil {
		t.Fatal(err)
	}
	g.nginx.Start(t)
	if o := g.recover(t); !o.Proved {
		t.Errorf("Recover() = %+v, want proved", o)
	}
}

func TestHighWaterIsNeverLowered(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	for _, step := range []struct{ set, want uint64 }{{0, 0}, {5, 5}, {3, 5}, {6, 6}} {
		if err := g.SetHighWater(step.set); err != nil {
			t.Fatal(err)
		}
		if got, err := g.HighWater(); err != nil || got != step.want {
			t.Errorf("HighWater() after %d = %d, %v, want %d", step.set, got, err, step.want)
		}
	}
	g.reopen(t)
	if got, err := g.HighWater(); err != nil || got != 6 {
		t.Errorf("HighWater() after a restart = %d, %v, want 6", got, err)
	}
	write(t, g.cfg.epochFile(), "12x\n")
	if got, err := g.HighWater(); err == nil {
		t.Errorf("HighWater() of a damaged file = %d, want an error", got)
	}
}
