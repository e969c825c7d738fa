package renderer

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

func TestDiskFaultsKeepWhatIsServed(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		spoil, mend func(t *testing.T, dir string)
		want        error
		links       bool // links cannot be made either
	}{
		"full": {
			func(t *testing.T, dir string) { fill(t, filepath.Join(dir, "filler")) },
			func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "filler")) },
			syscall.ENOSPC, false,
		},
		"no inodes": {
			func(t *testing.T, dir string) {
				if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT, "nr_inodes=100"); err != nil {
					t.Fatal(err)
				}
				for i := range 100 {
					if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("filler", i)), nil, 0o600); err != nil {
						return
					}
				}
				t.Fatal("100 files were made with 100 inodes")
			},
			func(t *testing.T, dir string) {
				if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT, "nr_inodes=1000"); err != nil {
					t.Fatal(err)
				}
			},
			syscall.ENOSPC, true,
		},
		"read-only": {
			func(t *testing.T, dir string) { remount(t, dir, syscall.MS_RDONLY) },
			func(t *testing.T, dir string) { remount(t, dir, 0) },
			syscall.EROFS, true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			state := testkit.SmallTmpfs(t, 1<<20)
			g := newTLSRig(t, testkit.NginxOptions{StateDir: state, User: "root"})
			first := g.put(t, "a.test")
			second, b := newBundle(t, "a.test")
			if err := g.PutBundle(second, b); err != nil {
				t.Fatal(err)
			}
			g.serve(t, g.servers(NamesOpen))
			before := g.entries(t, g.cfg.storeDir())
			tt.spoil(t, state)
			third, b := newBundle(t, "a.test")
			if err := g.PutBundle(third, b); !errors.Is(err, tt.want) || !strings.Contains(err.Error(), third.String()) {
				t.Errorf("PutBundle() = %v, want %v for %s", err, tt.want, third)
			}
			if err := g.SetLive(map[string]fleet.Hash{"a.test": second}); tt.links && !errors.Is(err, tt.want) || !tt.links && err != nil {
				t.Errorf("SetLive() = %v, want an error: %t", err, tt.links)
			}
			if err := g.SaveInventory(map[string][]byte{"head": make([]byte, 100<<10)}); !errors.Is(err, tt.want) {
				t.Errorf("SaveInventory() = %v, want %v", err, tt.want)
			}
			if got := g.entries(t, g.cfg.storeDir()); !slices.Equal(got, before) {
				t.Errorf("store has %v, want %v", got, before)
			}
			want := first["a.test"]
			if !tt.links {
				want = second
			}
			g.shows(t, "a.test", want)
			tt.mend(t, state)
			g.shows(t, "a.test", g.put(t, "a.test")["a.test"])
		})
	}
}

// fill writes a file until no byte is left.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	// Blocks that were written in part are not there for others.
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func TestInventoryIsKept(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	want := map[string][]byte{"head": []byte("h"), "0": []byte("zero"), "1023": []byte("last")}
	for _, text := range []string{"old", ""} {
		for name, sealed := range want {
			if text != "" {
				sealed = []byte(text)
			}
			if err := g.SaveInventory(map[string][]byte{name: sealed}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, name := range []string{"", ".", "..", "../epoch", "1024", "-1", "01", "+1", "1 ", "head/x", "Head", "\x00"} {
		if err := g.SaveInventory(map[string][]byte{name: []byte("x")}); err == nil {
			t.Errorf("SaveInventory(%q) = nil, want an error", name)
		}
	}
	if err := g.SaveInventory(map[string][]byte{"5": make([]byte, maxSealed+1)}); err == nil {
		t.Error("SaveInventory() of too much = nil, want an error")
	}
	write(t, filepath.Join(g.cfg.inventoryDir(), "foreign"), "x")
	g.reopen(t)
	same := func(a, b []byte) bool { return string(a) == string(b) }
	if got, err := g.Inventory(); err != nil || !maps.EqualFunc(got, want, same) {
		t.Errorf("Inventory() = %q, %v, want %q", got, err, want)
	}
	wantAccess(t, filepath.Join(g.cfg.inventoryDir(), "head"), 0o600, 0)
	if err := os.Symlink("/etc/passwd", filepath.Join(g.cfg.inventoryDir(), "7")); err != nil {
		t.Fatal(err)
	}
	if got, err := g.Inventory(); !errors.Is(err, ErrForeign) || !maps.EqualFunc(got, want, same) {
		t.Errorf("Inventory() = %q, %v, want %q and %v", got, err, want, ErrForeign)
	}
}
