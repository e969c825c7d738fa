package agent

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// TestSuspectAllFindsWhatNoEventTells has a link that is right, one that leads
// elsewhere, one that is missing, one of nobody's, and a bundle that is gone.
func TestSuspectAllFindsWhatNoEventTells(t *testing.T) {
	g, state := guarding(t, nil)
	f := certsOf(map[string]fleet.Hash{"right.test": bundleNo(1), "wrong.test": bundleNo(2), "missing.test": bundleNo(3)})
	f.renderer = g.renderer
	makeFolder(t, state, "store", bundleNo(1).String())
	makeFolder(t, state, "store", bundleNo(3).String())
	live := makeFolder(t, state, "live")
	link := func(name string, to fleet.Hash) {
		t.Helper()
		if err := os.Symlink("../store/"+to.String(), filepath.Join(live, name)); err != nil {
			t.Fatal(err)
		}
	}
	link("right.test", bundleNo(1))
	link("wrong.test", bundleNo(1))
	suspects := func() oddities {
		t.Helper()
		odd := oddities{map[string]bool{}, map[fleet.Hash]bool{}}
		if err := f.suspectAll(odd); err != nil {
			t.Errorf("suspectAll() = %v, want nil", err)
		}
		return odd
	}
	if got, want := suspects(), map[string]bool{"wrong.test": true, "missing.test": true}; !maps.Equal(got.live, want) || !maps.Equal(got.bundles, map[fleet.Hash]bool{bundleNo(2): true}) {
		t.Errorf("suspects are %+v, want the links %v and bundle 2", got, want)
	}
	link("missing.test", bundleNo(3))
	if err := os.Remove(filepath.Join(live, "wrong.test")); err != nil {
		t.Fatal(err)
	}
	link("wrong.test", bundleNo(2))
	link("nobody.test", bundleNo(1))
	if got, want := suspects(), map[string]bool{"nobody.test": true}; !maps.Equal(got.live, want) {
		t.Errorf("suspects are %+v, want the link %v", got, want)
	}
}
