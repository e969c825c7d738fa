package renderer

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

const wwwData = 33 // Debian's www-data

// wantAccess fails unless a file has the mode and the group.
func wantAccess(t *testing.T, path string, perm fs.FileMode, gid int) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Error(err)
		return
	}
	if got, _ := groupOf(info); info.Mode().Perm() != perm || got != gid {
		t.Errorf("%s has mode %04o and group %d, want %04o and %d", path, info.Mode().Perm(), got, perm, gid)
	}
}

func TestPutBundleWritesFilesForTheWorkersOnly(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		user, config string
		gid          int
	}{
		"user of the configuration":  {"www-data", "", wwwData},
		"group of the configuration": {"root daemon", "", 1},
		"root":                       {"root", "", 0},
		"own setting":                {"root", "www-data", wwwData},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t, testkit.NginxOptions{User: tt.user}, func(c *Config) { c.WorkerGroup = tt.config })
			live := g.put(t, "a.test")
			dir := g.cfg.bundleDir(live["a.test"])
			wantAccess(t, g.cfg.StateDir, 0o750, tt.gid)
			for _, path := range []string{g.cfg.storeDir(), g.cfg.liveDir(), dir} {
				wantAccess(t, path, 0o710, tt.gid)
			}
			wantAccess(t, filepath.Join(dir, rootDir), 0o750, tt.gid)
			wantAccess(t, filepath.Join(dir, fullchainFile), 0o644, tt.gid)
			wantAccess(t, filepath.Join(dir, privkeyFile), 0o640, tt.gid)
			wantAccess(t, g.cfg.inventoryDir(), 0o700, 0)
			wantAccess(t, g.cfg.releasesDir(), 0o750, 0)
		})
	}
}

func TestGroupOfWorkersChanges(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{User: "root"})
	live := g.put(t, "a.test", "b.test")
	g.reopen(t, func(c *Config) { c.WorkerGroup = "www-data" })
	g.put(t, "c.test")
	for _, hash := range live {
		wantAccess(t, filepath.Join(g.cfg.bundleDir(hash), privkeyFile), 0o640, wwwData)
		wantAccess(t, g.cfg.bundleDir(hash), 0o710, wwwData)
	}
	g.reopen(t, func(c *Config) { c.WorkerGroup = "no-such-group" })
	hash, b := newBundle(t, "d.test")
	if err := g.PutBundle(hash, b); err == nil || !strings.Contains(err.Error(), "no-such-group") {
		t.Errorf("PutBundle() = %v, want an error about the group", err)
	}
}

// TestWorkersOfAnotherGroupAreRefused: the key is not readable by others.
func TestWorkersOfAnotherGroupAreRefused(t *testing.T) {
	t.Parallel()
	g := newTLSRig(t, testkit.NginxOptions{User: "www-data"}, func(c *Config) { c.WorkerGroup = "daemon" })
	g.put(t, "a.test")
	rel := ringRelease(newRing(t, 1))
	rel.TLS = g.servers(NamesListed, "a.test")
	g.cfg.VerifyTimeout = 6 * time.Second
	if o := g.apply(t, rel); o.Proved {
		t.Errorf("Apply() = %+v, want not proved", o)
	}
	g.refuses(t, "a.test")
}

func TestPutBundleRepairsForeignEdits(t *testing.T) {
	t.Parallel()
	tests := map[string]func(dir string) error{
		"certificate changed": func(dir string) error { return os.WriteFile(filepath.Join(dir, fullchainFile), []byte("x"), 0o600) },
		"key gone":            func(dir string) error { return os.Remove(filepath.Join(dir, privkeyFile)) },
		"key is a link": func(dir string) error {
			key := filepath.Join(dir, privkeyFile)
			return errors.Join(os.Rename(key, dir+".key"), os.Symlink(dir+".key", key))
		},
		"root gone":          func(dir string) error { return os.Remove(filepath.Join(dir, rootDir)) },
		"file in root":       func(dir string) error { return os.WriteFile(filepath.Join(dir, rootDir, "x"), nil, 0o600) },
		"file beside":        func(dir string) error { return os.WriteFile(filepath.Join(dir, "x"), nil, 0o600) },
		"a file in place":    func(dir string) error { return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600)) },
		"a link in place":    func(dir string) error { return errors.Join(os.RemoveAll(dir), os.Symlink("/etc", dir)) },
		"key open to all":    func(dir string) error { return os.Chmod(filepath.Join(dir, privkeyFile), 0o644) },
		"folder open to all": func(dir string) error { return os.Chmod(dir, 0o755) },
		"group changed":      func(dir string) error { return os.Chown(filepath.Join(dir, privkeyFile), 0, 1) },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t, testkit.NginxOptions{})
			hash, b := newBundle(t, "a.test")
			if err := g.PutBundle(hash, b); err != nil {
				t.Fatal(err)
			}
			dir := g.cfg.bundleDir(hash)
			if err := spoil(dir); err != nil {
				t.Fatal(err)
			}
			if err := g.PutBundle(hash, b); err != nil {
				t.Fatalf("PutBundle() = %v", err)
			}
			if got := read(t, filepath.Join(dir, privkeyFile)); got != string(bundle.KeyPEM(b).Reveal()) {
				t.Error("PutBundle() leaves another key")
			}
			if got := read(t, filepath.Join(dir, fullchainFile)); got != string(bundle.FullchainPEM(b)) {
				t.Error("PutBundle() leaves another certificate")
			}
			if entries, err := os.ReadDir(filepath.Join(dir, rootDir)); err != nil || len(entries) != 0 {
				t.Errorf("root has %v, %v, want nothing", entries, err)
			}
			wantAccess(t, filepath.Join(dir, privkeyFile), 0o640, 0)
			wantAccess(t, dir, 0o710, 0)
			g.wantStore(t, hash)
		})
	}
}

// wantStore fails unless exactly these bundles are in the store.
func (g *rig) wantStore(t *testing.T, want ...fleet.Hash) {
	t.Helper()
	entries, err := os.ReadDir(g.cfg.storeDir())
	if err != nil {
		t.Fatal(err)
	}
	var got, names []string
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".key") {
			got = append(got, e.Name())
		}
	}
	for _, h := range want {
		names = append(names, h.String())
	}
	slices.Sort(names)
	if !slices.Equal(got, names) {
		t.Errorf("store has %v, want %v", got, names)
	}
}

func TestPutBundleLeavesAnEqualOneAlone(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	hash, b := newBundle(t, "a.test")
	inode := func() uint64 {
		t.Helper()
		if err := g.PutBundle(hash, b); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(g.cfg.bundleDir(hash), privkeyFile))
		if err != nil {
			t.Fatal(err)
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			t.Fatal("no inode")
		}
		return st.Ino
	}
	if first, second := inode(), inode(); first != second {
		t.Error("PutBundle() writes an equal bundle again")
	}
	other, _ := newBundle(t, "b.test")
	if err := g.PutBundle(other, b); err == nil {
		t.Error("PutBundle() = nil for the hash of another bundle, want an error")
	}
	g.wantStore(t, hash)
}

func TestPutBundlesOneFailureDoesNotKeepTheOthers(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	all := map[fleet.Hash]bundle.Bundle{}
	for range 2 * syncfsAt {
		hash, b := newBundle(t, "a.test")
		all[hash] = b
	}
	want := slices.Collect(maps.Keys(all))
	_, b := newBundle(t, "b.test")
	all[fleet.Hash{1}] = b
	if failed := g.PutBundles(all); len(failed) != 1 || failed[fleet.Hash{1}] == nil {
		t.Errorf("PutBundles() = %v, want an error for the wrong hash alone", failed)
	}
	g.wantStore(t, want...)
}

func TestCollectBundles(t *testing.T) {
	t.Parallel()
	r, err := newStoreOnly(t)
	if err != nil {
		t.Fatal(err)
	}
	g := &rig{Renderer: r}
	const keep = time.Minute
	synctest.Test(t, func(t *testing.T) {
		collect := func(want int) {
			t.Helper()
			if got, err := g.CollectBundles(keep); err != nil || got != want {
				t.Errorf("CollectBundles() = %d, %v, want %d", got, err, want)
			}
		}
		pass := func(d time.Duration) { <-time.After(d) } // of the bubble's clock
		first := g.put(t, "a.test")["a.test"]
		other := g.put(t, "b.test")["b.test"]
		second := g.put(t, "a.test")["a.test"]
		collect(0)
		pass(keep - time.Nanosecond)
		collect(0)
		g.wantStore(t, first, other, second)
		pass(time.Nanosecond)
		collect(1)
		g.wantStore(t, other, second)
		unused, b := newBundle(t, "c.test")
		if err := g.PutBundle(unused, b); err != nil {
			t.Fatal(err)
		}
		if err := g.DropLive("b.test"); err != nil {
			t.Fatal(err)
		}
		collect(0)
		pass(keep)
		if err := g.PutBundle(unused, b); err != nil { // wanted again
			t.Fatal(err)
		}
		collect(1)
		g.wantStore(t, second, unused)
		pass(keep)
		collect(1)
		g.wantStore(t, second)
		// What others link to is not taken from them.
		if err := os.Symlink(g.cfg.bundleDir(second), filepath.Join(g.cfg.liveDir(), "theirs")); err != nil {
			t.Fatal(err)
		}
		if err := g.DropLive("a.test"); err != nil {
			t.Fatal(err)
		}
		pass(keep)
		collect(0)
	})
}

// newStoreOnly is a renderer without nginx.
func newStoreOnly(t *testing.T) (*Renderer, error) {
	t.Helper()
	dir := t.TempDir()
	r, err := New(Config{
		Binary: "/nonexistent/nginx", ConfigFile: filepath.Join(dir, "nginx.conf"), PIDFile: filepath.Join(dir, "pid"),
		StateDir: filepath.Join(dir, "state"), RunDir: testkit.TmpfsDir(t), ReleaseAddress: "127.0.0.1:1", WorkerGroup: "root",
	}, nil)
	if err == nil {
		t.Cleanup(func() {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return r, err
}
