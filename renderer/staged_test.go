package renderer

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// someBundles are so many, with one under the hash of another.
func someBundles(t *testing.T, n int) (all map[fleet.Hash]bundle.Bundle, right []fleet.Hash) {
	t.Helper()
	all = map[fleet.Hash]bundle.Bundle{}
	for range n {
		hash, b := newBundle(t, "a.test")
		all[hash] = b
		right = append(right, hash)
	}
	all[fleet.Hash{1}] = all[right[0]]
	return all, right
}

func TestStagedBundlesAreFoundWhenPlaced(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 2 * syncfsAt} {
		g := newRig(t, testkit.NginxOptions{})
		all, right := someBundles(t, n)
		one, two := g.StageBundles(all), g.StageBundles(all) // as two who do not know of each other
		stored, err := g.Stored()
		if err != nil || len(stored) > 0 || g.HasBundle(right[0]) {
			t.Errorf("%d bundles: %d are there before they are placed, %v", n, len(stored), err)
		}
		for _, s := range []*Staged{one, two} {
			placed, failed := s.Place()
			slices.SortFunc(placed, compareHash)
			slices.SortFunc(right, compareHash)
			if !slices.Equal(placed, right) || len(failed) != 1 || failed[fleet.Hash{1}] == nil {
				t.Errorf("%d bundles: Place() = %d, %v, want all but the one under the hash of another", n, len(placed), failed)
			}
		}
		g.wantStore(t, right...)
		for hash, b := range all {
			if edits, whole := g.CheckBundle(hash); hash == bundle.Hash(b) && (len(edits) > 0 || whole == nil) {
				t.Errorf("%d bundles: %s is not as it has to be: %v", n, hash, edits)
			}
		}
	}
}

func compareHash(a, b fleet.Hash) int { return slices.Compare(a[:], b[:]) }

// TestStagedBundlesOfAnotherGroup has nginx's workers run as others between the
// two steps.
func TestStagedBundlesOfAnotherGroup(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	hash, b := newBundle(t, "a.test")
	s := g.StageBundles(map[fleet.Hash]bundle.Bundle{hash: b})
	other := *g.group + 1
	g.group = &other
	if placed, failed := s.Place(); len(placed) != 1 || len(failed) > 0 {
		t.Errorf("Place() = %v, %v, want the bundle", placed, failed)
	}
	for _, name := range []string{"", fullchainFile, privkeyFile, rootDir} {
		info, err := os.Stat(filepath.Join(g.cfg.bundleDir(hash), name))
		if err != nil {
			t.Fatal(err)
		}
		if gid, _ := groupOf(info); gid != other {
			t.Errorf("%q has group %d, want %d", name, gid, other)
		}
	}
}

// TestStagedBundlesWithoutAStore removes the store between the two steps.
func TestStagedBundlesWithoutAStore(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	hash, b := newBundle(t, "a.test")
	s := g.StageBundles(map[fleet.Hash]bundle.Bundle{hash: b})
	if err := os.RemoveAll(g.cfg.storeDir()); err != nil {
		t.Fatal(err)
	}
	if placed, failed := s.Place(); len(placed) > 0 || !errors.Is(failed[hash], fs.ErrNotExist) {
		t.Errorf("Place() = %v, %v, want %v", placed, failed, fs.ErrNotExist)
	}
	if err := g.PutBundle(hash, b); err != nil {
		t.Errorf("PutBundle() after it = %v, want nil", err)
	}
	g.wantStore(t, hash)
}

// TestBundleIsLookedForBeforeItIsLive removes one that was put.
func TestBundleIsLookedForBeforeItIsLive(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	live := g.put(t, "a.test")
	if err := os.RemoveAll(g.cfg.bundleDir(live["a.test"])); err != nil {
		t.Fatal(err)
	}
	if err := g.SetLive(map[string]fleet.Hash{"b.test": live["a.test"]}); !errors.Is(err, ErrNoBundle) {
		t.Errorf("SetLive() with a bundle that was removed = %v, want %v", err, ErrNoBundle)
	}
	hash, b := newBundle(t, "b.test")
	if err := g.PutBundle(hash, b); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(g.cfg.storeDir()); err != nil {
		t.Fatal(err)
	}
	if err := g.SetLive(map[string]fleet.Hash{"b.test": hash}); !errors.Is(err, ErrNoBundle) {
		t.Errorf("SetLive() with a bundle whose store was removed = %v, want %v", err, ErrNoBundle)
	}
	hash, b = newBundle(t, "c.test")
	if err := g.PutBundle(hash, b); err != nil {
		t.Fatal(err)
	}
	if _, err := g.CollectBundles(0); err != nil {
		t.Fatal(err)
	}
	if err := g.SetLive(map[string]fleet.Hash{"c.test": hash}); !errors.Is(err, ErrNoBundle) {
		t.Errorf("SetLive() with a bundle that was collected = %v, want %v", err, ErrNoBundle)
	}
}
