package agent

import (
	"context"
	"slices"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// readMargin is how much earlier than it was noticed an edit may have been made.
const readMargin = time.Second

// mend repairs what others have changed of the active release and the ticket
// keys. nginx is reloaded only if it may have read the change, or if the
// release cannot be made again as it was.
func (f *follower) mend(ctx context.Context) {
	f.mendAt = time.Time{}
	if until := f.fight.until; time.Now().Before(until) {
		f.mendAt = until
		return
	}
	since := f.foreign.take()
	edits, err := f.renderer.CheckRelease()
	if err != nil {
		f.log.Error("active release not checked", "err", err)
	}
	var found []edited
	anew := false
	if len(edits) > 0 {
		active := f.view.current()
		done := "made as it was"
		if err := f.renderer.MendRelease(active); err != nil {
			f.log.Warn("release not repaired, making another", "err", err)
			done, anew = "another release is made", true
		} else {
			f.refresh(ctx, func() {})
		}
		for _, e := range edits {
			found = append(found, edited{e, done})
		}
	}
	keys, done := f.mendKeys()
	for _, e := range keys {
		found = append(found, edited{e, done})
	}
	f.edits.tell(time.Now(), found)
	f.fight.note(time.Now(), len(found) > 0)
	if anew || f.mayBeRead(ctx, append(edits, keys...), since) {
		f.renew("files of the release were changed by others")
	}
}

// stoppedAfter is how late a proof is if the process was stopped for a while.
const stoppedAfter = 10 * time.Second

// unseenSince is since when an edit may have gone unseen that a proof finds; zero
// if nobody knows.
func (f *follower) unseenSince(now time.Time) time.Time {
	switch late := now.Sub(f.proveAt); {
	case late > stoppedAfter:
		return time.Time{}
	case late > 0:
		return f.proveAt.Add(-guardMost)
	}
	return now.Add(-guardMost)
}

// remake makes another release in the place of one that is gone and was not
// mended, unless it is to be mended later. Until then nothing is proved, and what
// it had is not forgotten.
func (f *follower) remake() {
	f.view.update(func() { f.view.proved = 0 })
	f.proveAt = time.Now().Add(proveSoon)
	if f.mendAt.IsZero() && f.change == nil {
		f.renew("the active release is gone")
	}
}

// releaseLost reports whether the release that was active is gone.
func (f *follower) releaseLost() bool {
	return f.view.current().Release != 0 && !f.renderer.HasRelease()
}

// keysChanged reports whether key files are not as they have to be.
func (f *follower) keysChanged() bool {
	ring, _ := f.view.own()
	return ring != nil && f.view.state().Mode == fleet.ModeRing && len(f.renderer.CheckKeys(*ring)) > 0
}

// mendKeys writes key files again that are not as they have to be.
func (f *follower) mendKeys() (edits []renderer.Edit, done string) {
	ring, _ := f.view.own()
	if ring == nil || f.view.state().Mode != fleet.ModeRing {
		return nil, ""
	}
	if edits = f.renderer.CheckKeys(*ring); len(edits) == 0 {
		return nil, ""
	}
	if err := f.renderer.WriteKeys(*ring); err != nil {
		f.log.Error("ticket keys not repaired", "err", err)
		return edits, "not repaired: " + err.Error()
	}
	return edits, "written again"
}

// mayBeRead reports whether nginx may work with what others have written.
func (f *follower) mayBeRead(ctx context.Context, edits []renderer.Edit, since time.Time) bool {
	if !slices.ContainsFunc(edits, func(e renderer.Edit) bool { return e.Content }) {
		return false
	}
	if since.IsZero() {
		return true
	}
	read, err := f.renderer.ReadSince(ctx, since.Add(-readMargin))
	if err != nil {
		f.log.Debug("not known whether nginx has read a foreign edit", "err", err)
	}
	return read
}
