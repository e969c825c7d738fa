package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// idleRenderer is one with folders of its own, whose nginx does not run.
func idleRenderer(t *testing.T) (r *renderer.Renderer, state string) {
	t.Helper()
	dir := t.TempDir()
	state = filepath.Join(dir, "state")
	r, err := renderer.New(renderer.Config{
		Binary: testkit.NginxBinary(t), ConfigFile: filepath.Join(dir, "nginx.conf"), PIDFile: filepath.Join(dir, "pid"),
		StateDir: state, RunDir: testkit.TmpfsDir(t), ReleaseAddress: "127.0.0.1:1",
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r, state
}

// guarding is a guard over the folders of a node, none of which it watches yet.
func guarding(t *testing.T, served map[string]fleet.Hash) (g *guard, state string) {
	t.Helper()
	r, state := idleRenderer(t)
	g = &guard{
		log: hclog.NewNullLogger(), renderer: r, fixed: map[string]uint64{}, bundles: map[fleet.Hash]bool{}, room: watchBundles,
		certs: &suspects{wake: newWake(), turned: newWake()}, release: &releaseSuspect{wake: newWake()},
		edits: &edits{log: hclog.NewNullLogger(), problems: newProblems(func() {})},
	}
	g.served = &certsOf(served).served
	g.dirty.wake = newWake()
	g.sweeper = sweeper{renderer: r, served: g.served, certs: g.certs, release: g.release}
	return g, state
}

func certsOf(served map[string]fleet.Hash) *certFollower {
	f := &certFollower{}
	f.served.reset(served)
	return f
}

// withWatcher lets the guard watch, by the kernel's events.
func (g *guard) withWatcher(t *testing.T) {
	t.Helper()
	w, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	g.watcher = w
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
}

func makeFolder(t *testing.T, path ...string) string {
	t.Helper()
	dir := filepath.Join(path...)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestLostEventsSuspectEverything: an overflow of the kernel's queue, or more
// paths than are kept, names nothing, so all is looked at.
func TestLostEventsSuspectEverything(t *testing.T) {
	for name, happens := range map[string]func(g *guard){
		"overflow": func(g *guard) { g.dirty.note(fsnotify.Event{}) },
		"too many": func(g *guard) {
			for i := range dirtyMost + 1 {
				g.dirty.note(fsnotify.Event{Name: filepath.Join("/elsewhere", string(rune('a'+i%26)), time.Duration(i).String()), Op: fsnotify.Write})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			g, _ := guarding(t, nil)
			g.bundles[bundleNo(1)] = true
			happens(g)
			g.look()
			if _, all := g.certs.take(); !all {
				t.Error("names are not looked at, want all of them")
			}
			if !g.release.given || !g.release.take().IsZero() {
				t.Error("the release is not looked at, want it to be, with nobody knowing since when")
			}
			if !slices.Equal(g.sweeper.first, []fleet.Hash{bundleNo(1)}) {
				t.Errorf("compared first are %v, want the bundles that are watched", g.sweeper.first)
			}
		})
	}
}

// TestEventsOfElsewhereSuspectNothing has events of what is as it should be.
func TestEventsOfElsewhereSuspectNothing(t *testing.T) {
	g, state := guarding(t, nil)
	for _, path := range []string{"/elsewhere", filepath.Join(state, "lock"), filepath.Join(state, "live", "gone.test")} {
		g.dirty.note(fsnotify.Event{Name: path, Op: fsnotify.Remove})
	}
	g.look()
	if odd, all := g.certs.take(); all || len(odd.live)+len(odd.bundles) > 0 || g.release.given {
		t.Errorf("suspects are %+v, all %t, the release %t, want none", odd, all, g.release.given)
	}
}

// TestFloodIsNotWatched: events are not asked for while very much is written, and
// all is looked at when that ends.
func TestFloodIsNotWatched(t *testing.T) {
	g, state := guarding(t, nil)
	g.withWatcher(t)
	live, store := filepath.Join(state, "live"), filepath.Join(state, "store")
	watched := func(when string, want bool) {
		t.Helper()
		if !g.follow() {
			t.Fatalf("folders are not watched %s", when)
		}
		list := g.watcher.WatchList()
		if slices.Contains(list, live) != want || slices.Contains(list, store) != want || len(list) < 2 {
			t.Errorf("watched %s are %v, want %s and %s among them: %t", when, list, live, store, want)
		}
	}
	watched("at the start", true)
	g.certs.floods(true)
	watched("in a flood", false)
	g.certs.floods(false)
	watched("after it", true)
	if takeAll(g) {
		t.Error("all is looked at already, want it by the guard")
	}

	g.begin = make(chan struct{})
	close(g.begin)
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- g.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	}()
	g.certs.floods(true)
	g.certs.floods(false)
	testkit.Eventually(t, 50*time.Second, "a look at everything", func() error {
		if !takeAll(g) {
			return errors.New("not asked for")
		}
		return nil
	})
	for _, on := range []bool{true, false} {
		g.certs.floods(on)
		testkit.Eventually(t, 50*time.Second, "the guard to follow", func() error {
			if slices.Contains(g.watcher.WatchList(), live) == on {
				return fmt.Errorf("in a flood: %t, watched: %t", on, on)
			}
			return nil
		})
	}
	testkit.Eventually(t, 50*time.Second, "a link of others to be seen", func() error {
		link := filepath.Join(live, "new.test")
		if err := errors.Join(os.RemoveAll(link), os.Symlink("../store/"+bundleNo(1).String(), link)); err != nil {
			t.Fatal(err)
		}
		if odd, _ := g.certs.take(); !odd.live["new.test"] {
			return errors.New("not seen")
		}
		return nil
	})
}

// TestBundlesBeyondTheWatchesAreSwept has room for one bundle only. The sweep
// finds what happens to the other.
func TestBundlesBeyondTheWatchesAreSwept(t *testing.T) {
	a, b := bundleNo(1), bundleNo(2)
	g, state := guarding(t, map[string]fleet.Hash{"a.test": a, "b.test": b})
	g.withWatcher(t)
	g.room = 1
	for _, hash := range []fleet.Hash{a, b} {
		makeFolder(t, state, "store", hash.String(), "root")
	}
	g.watch(a)
	g.watch(b)
	if !g.bundles[a] || g.bundles[b] {
		t.Errorf("watched are %v, want the first one", g.bundles)
	}
	for range 2 { // an unreadable bundle is odd, however often it is looked at
		g.sweeper.sweepStore()
		if odd, _ := g.certs.take(); !odd.bundles[a] || !odd.bundles[b] {
			t.Errorf("the sweep suspects %v, want both: they are not whole", odd.bundles)
		}
	}
	if g.sweeper.sweepLive(); !takeAll(g) {
		t.Error("the sweep does not miss links that are gone")
	}

	g.served.reset(map[string]fleet.Hash{"b.test": b})
	g.bundles[bundleNo(9)] = true
	g.room = 2
	g.watch(b)
	if !g.bundles[b] || g.bundles[a] || g.bundles[bundleNo(9)] {
		t.Errorf("watched are %v, want the one served: those that are not give up their room", g.bundles)
	}
}

func takeAll(g *guard) bool {
	_, all := g.certs.take()
	return all
}

// TestSweepWithoutWatches is all there is where the kernel gives no watches.
func TestSweepWithoutWatches(t *testing.T) {
	g, state := guarding(t, map[string]fleet.Hash{"a.test": bundleNo(1)})
	if !g.follow() {
		t.Error("follow() without watches = false, want it not tried again")
	}
	if g.watch(bundleNo(1)); len(g.bundles) > 0 {
		t.Errorf("watched are %v, want none", g.bundles)
	}
	link := filepath.Join(makeFolder(t, state, "live"), "a.test")
	for what, to := range map[string]fleet.Hash{"as it should be": bundleNo(1), "led elsewhere": bundleNo(2)} {
		if err := os.Symlink("../store/"+to.String(), link); err != nil {
			t.Fatal(err)
		}
		g.sweeper.sweepLive()
		odd, all := g.certs.take()
		if want := to != bundleNo(1); odd.live["a.test"] != want || all != want {
			t.Errorf("%s: the sweep suspects %v, all %t, want %t", what, odd.live, all, want)
		}
		if err := os.Remove(link); err != nil {
			t.Fatal(err)
		}
	}
	pause := g.sweeper.step()
	if pause < sweepLeast {
		t.Errorf("step() = %s, want at least %s", pause, sweepLeast)
	}
	g.sweeper.looked = time.Now().Add(-releaseEvery)
	g.release.take()
	if g.sweeper.step(); !g.release.given {
		t.Error("the release is not looked at after its time")
	}
	if err := g.sweeper.close(); err != nil {
		t.Error(err)
	}
}

// TestBundlesAtTheStartComeFirst compares them a few at a time.
func TestBundlesAtTheStartComeFirst(t *testing.T) {
	g, _ := guarding(t, nil)
	for i := range sweepBundles + 1 {
		g.sweeper.soon(bundleNo(byte(i + 1)))
	}
	g.sweeper.step()
	odd, _ := g.certs.take()
	if len(odd.bundles) != sweepBundles || len(g.sweeper.first) != 1 {
		t.Errorf("%d bundles compared, %d left, want %d and 1", len(odd.bundles), len(g.sweeper.first), sweepBundles)
	}
	g.sweeper.step()
	if odd, _ = g.certs.take(); len(odd.bundles) != 1 || len(g.sweeper.first) != 0 {
		t.Errorf("%d more bundles compared, %d left, want 1 and 0", len(odd.bundles), len(g.sweeper.first))
	}
}
