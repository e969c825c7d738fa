package agent

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"github.com/tlsfleet/tlsfleet/renderer"
)

// dirtyMost is how many paths are kept between two looks; beyond it all names
// are looked at.
const dirtyMost = 20000

// dirty gathers the kernel's events, so that none waits for a look at others.
type dirty struct {
	wake wake

	mu    sync.Mutex
	batch batch
	last  time.Time
}

// batch is what happened between two looks.
type batch struct {
	paths map[string]fsnotify.Op
	first time.Time
	lost  bool // there were more than could be kept
}

// collect notes events until the watcher is closed.
func (d *dirty) collect(w *fsnotify.Watcher) {
	for {
		select {
		case e, ok := <-w.Events:
			if !ok {
				return
			}
			d.note(e)
		case err, ok := <-w.Errors:
			if !ok {
				return
			}
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				d.note(fsnotify.Event{})
			}
		}
	}
}

// note keeps an event; one without a path says that events were lost.
func (d *dirty) note(e fsnotify.Event) {
	now := time.Now()
	d.mu.Lock()
	b := &d.batch
	if b.first.IsZero() {
		b.first = now
	}
	if b.paths == nil {
		b.paths = map[string]fsnotify.Op{}
	}
	if len(b.paths) < dirtyMost && e.Name != "" {
		b.paths[e.Name] |= e.Op
	} else {
		b.lost = true
	}
	d.last = now
	d.mu.Unlock()
	d.wake.give()
}

func (d *dirty) take() batch {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.batch
	d.batch = batch{}
	return b
}

// settle waits until nothing has happened for a while. It reports whether ctx
// goes on.
func (d *dirty) settle(ctx context.Context) bool {
	for {
		d.mu.Lock()
		first, last := d.batch.first, d.last
		d.mu.Unlock()
		wait := min(guardQuiet-time.Since(last), guardMost-time.Since(first))
		if first.IsZero() || wait <= 0 {
			return ctx.Err() == nil
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
	}
}

// follow watches the folders that are not bundles, anew where another folder
// has taken the place, which is then looked at in full. It reports whether all
// of them are watched.
func (g *guard) follow() bool {
	if g.watcher == nil {
		return true
	}
	want := g.renderer.Folders()
	if g.certs.flood.Load() {
		want = slices.DeleteFunc(want, g.isCert)
	}
	for dir := range g.fixed {
		if !slices.Contains(want, dir) {
			delete(g.fixed, dir)
			g.unwatch(dir)
		}
	}
	all := true
	for _, dir := range want {
		var st unix.Stat_t
		err := unix.Stat(dir, &st)
		if err == nil && g.fixed[dir] == st.Ino {
			continue
		}
		had := g.fixed[dir] != 0
		delete(g.fixed, dir)
		if err == nil {
			g.unwatch(dir)
			err = g.watcher.Add(dir)
		}
		if err != nil {
			g.log.Debug("folder not watched", "path", dir, "err", err)
			all = false
		} else {
			g.fixed[dir] = st.Ino
		}
		if had || err != nil {
			g.suspect(dir)
		}
	}
	return all
}

// suspect asks for a full look at what belongs to a folder.
func (g *guard) suspect(dir string) {
	switch place, _ := g.renderer.Locate(dir); place {
	case renderer.PlaceLive, renderer.PlaceBundle:
		g.certs.add(nil, nil, true)
	case renderer.PlaceRelease, renderer.PlaceKeys:
		g.release.give(time.Time{})
	case renderer.PlaceNone:
	}
}

func (g *guard) unwatch(dir string) {
	if err := g.watcher.Remove(dir); err != nil && !errors.Is(err, fsnotify.ErrNonExistentWatch) {
		g.log.Debug("watch not removed", "path", dir, "err", err)
	}
}
