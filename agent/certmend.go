package agent

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/handlers"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// mending is what the follower of the certificates keeps of foreign edits.
type mending struct {
	damaged map[fleet.Hash]bool // bundles whose files were changed by others, until they are here again
	left    map[string]bool     // entries that are told and stay
	again   time.Time           // when to look again at what could not be mended; zero: nothing
	fight   fight
}

// mend repairs what others have changed under live and store.
func (f *certFollower) mend(ctx context.Context) {
	if until := f.mending.fight.until; time.Now().Before(until) {
		f.mending.again = until
		return
	}
	odd, all := f.suspects.take()
	if f.mending.left == nil {
		f.mending.damaged, f.mending.left = map[fleet.Hash]bool{}, map[string]bool{}
	}
	f.mending.again = time.Time{}
	folders, err := f.renderer.MendFolders()
	var found []edited
	for _, e := range folders {
		found = append(found, edited{e, "made as it was"})
	}
	if all || len(folders) > 0 {
		err = errors.Join(err, f.suspectAll(odd))
	}
	found = append(found, f.mendBundles(odd.bundles)...)
	links, linkErr := f.mendLive(ctx, odd.live)
	found = append(found, links...)
	f.edits.tell(time.Now(), found)
	f.mending.fight.note(time.Now(), len(found) > 0)
	if err = errors.Join(err, linkErr); err == nil {
		f.problems.replace("mend")
		return
	}
	f.suspects.putBack(slices.Collect(maps.Keys(odd.live)), slices.Collect(maps.Keys(odd.bundles)), all)
	f.mending.again = time.Now().Add(certRetry)
	f.problems.replace("mend", fleet.Problem{Code: "foreign-edit-unrepaired", Severity: fleet.Alarm, Message: err.Error(),
		Hint: "check the disk under state_dir; it is tried again"})
}

// suspectAll takes every entry of live, every name and every bundle that is not
// as it should be for suspect.
func (f *certFollower) suspectAll(odd oddities) error {
	stored, err := f.renderer.Stored()
	if err != nil {
		return err
	}
	for hash := range f.served.hashes(f.served.count()) {
		if !stored[hash] {
			odd.bundles[hash] = true
		}
	}
	right, err := f.suspectLive(odd)
	if right >= f.served.count() {
		return err
	}
	for _, name := range f.served.names() {
		if folder, err := renderer.LiveFolder(name); err == nil && f.served.odd(f.renderer.LiveEntry(folder)) {
			odd.live[folder] = true
		}
	}
	return err
}

// suspectLive looks at what is in live, and counts what is as it should be.
func (f *certFollower) suspectLive(odd oddities) (right int, _ error) {
	dir, err := f.renderer.OpenLive()
	if err != nil {
		return 0, err
	}
	for err == nil {
		var entries []os.DirEntry
		entries, err = dir.ReadDir(1000)
		for _, e := range entries {
			if f.served.odd(f.renderer.LiveEntry(e.Name())) {
				odd.live[e.Name()] = true
			} else {
				right++
			}
		}
	}
	if !errors.Is(err, io.EOF) {
		return 0, errors.Join(err, dir.Close())
	}
	return right, dir.Close()
}

// mendBundles repairs bundles that names are served with. Where their files
// say nothing any more they are fetched again, which write does.
func (f *certFollower) mendBundles(suspect map[fleet.Hash]bool) []edited {
	if len(suspect) == 0 {
		return nil
	}
	var found []edited
	names := f.served.with(suspect)
	served := map[fleet.Hash]bool{}
	for _, hash := range names {
		served[hash] = true
	}
	for hash := range served {
		edits, whole := f.renderer.CheckBundle(hash)
		if len(edits) == 0 {
			continue
		}
		done := "being fetched again"
		switch {
		case f.mending.damaged[hash]:
			continue // told
		case whole != nil && f.renderer.PutBundle(hash, *whole) == nil:
			done = "made as it was"
		default:
			f.mending.damaged[hash] = true
		}
		for _, e := range edits {
			found = append(found, edited{e, done})
		}
	}
	for name, hash := range names {
		if _, waits := f.todo[name]; f.mending.damaged[hash] && !waits {
			f.todo[name] = hash
			f.wait, f.next = 0, time.Time{}
		}
	}
	return found
}

// mendLive points the links of names where they belong and takes out what no
// name is served with.
func (f *certFollower) mendLive(ctx context.Context, suspect map[string]bool) ([]edited, error) {
	var found []edited
	var extra []string
	flips := map[string]fleet.Hash{}
	change := handlers.CertChange{}
	for _, folder := range slices.Sorted(maps.Keys(suspect)) {
		e := f.renderer.LiveEntry(folder)
		if !f.served.odd(e) || f.meant(e) {
			delete(f.mending.left, folder)
			continue
		}
		want, served := f.served.bundle(e.Name)
		switch {
		case !served:
			extra = append(extra, folder)
			continue
		case !e.Here:
			found = append(found, edited{renderer.Edit{Path: e.Path, What: "missing"}, "made again"})
		default:
			found = append(found, edited{renderer.Edit{Path: e.Path, What: "leads elsewhere"}, "led back"})
			change.Replaced = append(change.Replaced, e.Name) // nginx may have loaded the other
		}
		if f.renderer.HasBundle(want) {
			flips[e.Name] = want
		}
	}
	var err error
	if len(flips) > 0 {
		err = f.renderer.SetLive(flips)
	}
	if err == nil {
		f.tell(ctx, change)
	}
	taken, takeErr := f.takeOut(extra)
	return append(found, taken...), errors.Join(err, takeErr)
}

// meant reports whether an entry is what the inventory says, and just not yet
// known as served: certificates that were asked for come beside the follower.
func (f *certFollower) meant(e renderer.LiveEntry) bool {
	want, ok := f.known.lookup(e.Name)
	return ok && e.Here && !want.Removed && want.Bundle == e.Hash
}

// takeOut tells what became of entries that are not ours, once of those that
// stay.
func (f *certFollower) takeOut(folders []string) ([]edited, error) {
	folders = slices.DeleteFunc(folders, func(folder string) bool { return f.mending.left[folder] })
	if len(folders) == 0 {
		return nil, nil
	}
	done, err := f.renderer.TakeOut(folders...)
	var found []edited
	for folder, what := range done {
		e := f.renderer.LiveEntry(folder)
		f.mending.left[folder] = e.Here
		found = append(found, edited{renderer.Edit{Path: e.Path, What: "not made by tlsfleet"}, what})
	}
	slices.SortFunc(found, func(a, b edited) int { return strings.Compare(a.Path, b.Path) })
	return found, err
}
