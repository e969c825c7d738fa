package agent

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/renderer"
)

const (
	guardQuiet   = 100 * time.Millisecond // after an event before anything is compared
	guardMost    = 500 * time.Millisecond // but no longer than this after the first event
	guardRetry   = time.Second            // a folder that cannot be watched
	watchBundles = 4096                   // bundles watched, two watches each
	watchShare   = 8                      // of max_user_watches, the part taken at most
	giveUpEvery  = time.Minute            // watches are given up, while many bundles come that are not yet served
)

// maxWatches says how many folders one user may watch (inotify(7)).
const maxWatches = "/proc/sys/fs/inotify/max_user_watches"

// guard finds foreign edits under the managed folders, by the kernel's events
// and by a slow sweep of what those leave out. What this process writes causes
// events too, so only what then is not as wanted is a suspect, and those who
// write there decide.
type guard struct {
	log      hclog.Logger
	renderer *renderer.Renderer
	served   *served
	edits    *edits
	begin    chan struct{} // closed when it is known what has to be there
	certs    *suspects
	release  *releaseSuspect

	watcher *fsnotify.Watcher // nil if the kernel gives none
	fixed   map[string]uint64 // folders watched, with their inodes
	bundles map[fleet.Hash]bool
	room    int // for further bundles
	pruned  time.Time
	dirty   dirty
	sweeper sweeper
}

// newGuard makes the guard of an agent and lets it wake those who write.
func newGuard(a *Agent, probs *problems) *guard {
	g := &guard{
		log: a.log.Named("guard"), renderer: a.renderer, served: &a.certs.served,
		edits: &edits{log: a.log.Named("guard"), problems: probs, told: newWake()}, begin: make(chan struct{}),
		certs: &suspects{wake: newWake(), turned: newWake()}, release: &releaseSuspect{wake: newWake()},
	}
	a.certs.suspects, a.certs.edits = g.certs, g.edits
	a.follower.foreign, a.follower.edits = g.release, g.edits
	return g
}

// Run guards until ctx ends.
func (g *guard) Run(ctx context.Context) (err error) {
	select {
	case <-ctx.Done():
		return nil
	case <-g.begin:
	}
	g.dirty.wake = newWake()
	g.fixed, g.bundles = map[string]uint64{}, map[fleet.Hash]bool{}
	if g.watcher, err = fsnotify.NewWatcher(); err != nil {
		g.log.Warn("foreign edits are found only by a slow sweep", "err", err)
		g.watcher = nil
	} else {
		go g.dirty.collect(g.watcher)
		defer func() { err = errors.Join(err, g.watcher.Close()) }()
	}
	g.room = bundleRoom()
	follow := g.follow()
	g.adopt()
	g.sweeper = sweeper{renderer: g.renderer, served: g.served, first: g.watched(), certs: g.certs, release: g.release}
	defer func() { err = errors.Join(err, g.sweeper.close()) }()
	sweep, show := time.NewTimer(0), time.NewTimer(0)
	defer sweep.Stop()
	defer show.Stop()
	for {
		var retry <-chan time.Time
		if !follow {
			retry = time.After(guardRetry)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-g.dirty.wake:
			if !g.dirty.settle(ctx) {
				return nil
			}
			follow = g.look()
			if len(g.sweeper.first) > 0 {
				sweep.Reset(guardQuiet)
			}
		case <-g.certs.turned:
			if follow = g.follow(); !g.certs.flood.Load() {
				g.suspectAll()
				sweep.Reset(guardQuiet)
			}
		case <-retry:
			follow = g.follow()
		case <-sweep.C:
			if len(g.bundles) < min(g.room, g.served.count())/2 {
				g.adopt() // many came at once
			}
			sweep.Reset(g.sweeper.step())
		case <-g.edits.told:
			show.Reset(0)
		case <-show.C:
			if again := g.edits.show(time.Now()); !again.IsZero() {
				show.Reset(time.Until(again))
			}
		}
	}
}

// bundleRoom is how many bundles may be watched.
func bundleRoom() int {
	text, err := os.ReadFile(maxWatches)
	if err != nil {
		return watchBundles
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return watchBundles
	}
	return min(watchBundles, n/watchShare/2)
}

// look compares what events were about with what has to be there. It reports
// whether all folders are watched.
func (g *guard) look() bool {
	batch := g.dirty.take()
	followed := g.follow()
	if batch.lost {
		g.release.give(time.Time{})
		g.suspectAll()
		maps.DeleteFunc(batch.paths, func(path string, _ fsnotify.Op) bool { return g.isCert(path) })
	}
	var live []string
	var bundles []fleet.Hash
	touched := false
	for path, op := range batch.paths {
		switch place, entry := g.renderer.Locate(path); place {
		case renderer.PlaceLive:
			if entry == "" {
				g.certs.add(nil, nil, true)
			} else if g.served.odd(g.renderer.LiveEntry(entry)) {
				live = append(live, entry)
			}
		case renderer.PlaceBundle:
			if entry == "" {
				g.certs.add(nil, nil, true)
			} else if hash, err := fleet.ParseHash(entry); err == nil && g.changed(path, hash, op) {
				bundles = append(bundles, hash)
			}
		case renderer.PlaceRelease, renderer.PlaceKeys:
			touched = true
		case renderer.PlaceNone:
		}
	}
	if touched {
		g.release.give(batch.first)
	}
	g.certs.add(live, bundles, false)
	return followed
}

// suspectAll asks for a look at every name, and compares what is watched.
func (g *guard) suspectAll() {
	g.certs.add(nil, nil, true)
	g.adopt()
	g.sweeper.first = g.watched()
}

// isCert reports whether a path is that of a certificate.
func (g *guard) isCert(path string) bool {
	place, _ := g.renderer.Locate(path)
	return place == renderer.PlaceLive || place == renderer.PlaceBundle
}

// changed reports whether a bundle is not as it has to be. One that has just
// come, whole and by rename, is ours, and compared later.
func (g *guard) changed(path string, hash fleet.Hash, op fsnotify.Op) bool {
	whole := filepath.Base(path) == hash.String()
	if whole && op&(fsnotify.Remove|fsnotify.Rename) != 0 {
		delete(g.bundles, hash)
	}
	g.watch(hash)
	if whole && op == fsnotify.Create {
		g.sweeper.soon(hash) // it may have been changed before it was watched
		return false
	}
	edits, _ := g.renderer.CheckBundle(hash)
	return len(edits) > 0
}

// adopt watches bundles that are here already, as many as there is room for.
func (g *guard) adopt() {
	hashes := g.served.hashes(g.room)
	for hash := range hashes {
		g.watch(hash)
	}
	if n := g.served.count(); n > g.room {
		g.log.Info("more bundles than watches: foreign edits of the others are found by a slow sweep", "watched", g.room, "names", n)
	}
}

// watch asks for the events of a bundle, if there is room.
func (g *guard) watch(hash fleet.Hash) {
	if g.watcher == nil || g.bundles[hash] {
		return
	}
	if len(g.bundles) >= g.room && !g.prune() {
		return
	}
	for _, dir := range g.renderer.BundleFolders(hash) {
		err := g.watcher.Add(dir)
		switch {
		case errors.Is(err, syscall.ENOSPC):
			g.log.Warn("no more watches: foreign edits of other bundles are found by a slow sweep", "watched", len(g.bundles), "err", err)
			g.room = len(g.bundles)
			return
		case err != nil:
			return // gone, or never there
		}
	}
	g.bundles[hash] = true
}

// prune gives up the watches of bundles that nothing is served with any more,
// once half of all would be such.
func (g *guard) prune() bool {
	before := len(g.bundles)
	if before == 0 || g.served.count() > before/2 || time.Since(g.pruned) < giveUpEvery {
		return false
	}
	g.pruned = time.Now()
	served := g.served.with(g.bundles)
	keep := map[fleet.Hash]bool{}
	for _, hash := range served {
		keep[hash] = true
	}
	for hash := range g.bundles {
		if !keep[hash] {
			g.forget(hash)
		}
	}
	return len(g.bundles) < before
}

func (g *guard) forget(hash fleet.Hash) {
	delete(g.bundles, hash)
	for _, dir := range g.renderer.BundleFolders(hash) {
		if err := g.watcher.Remove(dir); err != nil && !errors.Is(err, fsnotify.ErrNonExistentWatch) {
			g.log.Debug("watch not removed", "path", dir, "err", err)
		}
	}
}

func (g *guard) watched() []fleet.Hash {
	all := make([]fleet.Hash, 0, len(g.bundles))
	for hash := range g.bundles {
		all = append(all, hash)
	}
	return all
}
