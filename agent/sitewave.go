package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/site"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/handlers"
)

// waveCopy names the node's sealed copy of the wave.
const waveCopy = "WAVE"

// accept takes in a record of the wave. One that is older than another that was
// accepted is that of a restored snapshot.
func (f *siteFollower) accept(rec store.WaveRecord) {
	if rec.Serial < f.wave.Serial {
		f.problems.replace("sites", fleet.Problem{
			Code: "sites-refused", Severity: fleet.Alarm,
			Message: fmt.Sprintf("what Consul says of the sites, at epoch %d, is older than what was followed, at epoch %d: keeping every site",
				rec.Wave.Epoch, f.wave.Wave.Epoch),
			Hint: "after the restore of a snapshot set the sites again, or take those that are there with tlsfleet site retry",
		})
		f.behind = false
		return
	}
	f.wave = rec
	f.mixed = f.mixed || f.unled.alone
	f.heard()
	f.behind, f.wait, f.next = true, 0, time.Time{}
}

// followPinned reads the sites that differ from those of a pinned head.
func (f *siteFollower) followPinned(ctx context.Context, rec store.SiteHeadRecord) {
	var differ []site.Entry
	keep := map[string]bool{}
	for _, e := range rec.Head.Sites {
		if own, ok := f.sites[e.ID]; !e.Removed() && (!ok || own.Epoch != e.Epoch || own.Hash != e.Hash) {
			differ = append(differ, e)
		}
		keep[e.ID] = !e.Removed()
	}
	list, bad, err := f.store.PinnedSites(ctx, differ)
	if err != nil {
		f.unread(err)
		return
	}
	f.noteBefore(ctx, list)
	f.mixed = true
	var gone []string
	for id := range f.sites {
		if !keep[id] {
			gone = append(gone, id)
		}
	}
	f.keep(rec, list, gone, bad)
}

// obey follows the epoch that the wave wants here, be it newer or older.
func (f *siteFollower) obey(ctx context.Context) {
	w := f.wave.Wave
	may := w.MayApply(f.cfg.Node)
	if err := f.renderer.SaveSites(map[string][]byte{waveCopy: f.store.Own(store.WavePath, f.wave.Sealed)}, nil); err != nil {
		f.unsaved(err)
		return
	}
	switch {
	case may == 0 && f.early != 0 && f.early == f.head.Epoch:
		f.drop()
		return
	case may == 0 || may == f.head.Epoch && !f.mixed:
		// Nothing was rolled out so far: what is here is from before the record was lost.
		f.ready = f.ready || f.head.Epoch == 0 && f.view.current().Sites.Epoch == 0
		if w.State == handlers.WaveRolled {
			f.early = 0
		}
		f.problems.replace("sites")
		f.behind = false
		return
	}
	rec, err := f.store.PinnedHead(ctx, may)
	if err != nil {
		f.unread(err)
		return
	}
	first := w.Base == 0 && (f.head.Epoch == 0 || f.head.Epoch == f.early)
	f.followPinned(ctx, rec)
	switch {
	case f.behind:
	case w.State == handlers.WaveRolled:
		f.early = 0
	case first:
		f.early = may
	}
}

// drop goes back to no sites at all: the first ones were not rolled out.
func (f *siteFollower) drop() {
	gone := append(slices.Collect(maps.Keys(f.sites)), headCopy)
	if err := f.renderer.SaveSites(nil, gone); err != nil {
		f.unsaved(err)
		return
	}
	f.log.Info("sites given up", "epoch", f.head.Epoch)
	f.sites, f.head, f.early = map[string]store.SiteRecord{}, site.Head{}, 0
	f.ready, f.behind, f.mixed = true, false, false
	f.problems.replace("sites")
}

// loadWave reads the node's own copy of the wave, so that an older one is known.
func (f *siteFollower) loadWave(sealed []byte) {
	if sealed == nil {
		return
	}
	rec, err := f.store.OpenWave(sealed)
	if err != nil {
		f.log.Warn("own copy of the wave refused, reading it afresh", "err", err)
		return
	}
	f.wave = rec
}

// loadEarly finds out whether the sites that were loaded are first ones on trial.
// Those that were not loaded in full are followed again, whatever their epoch.
func (f *siteFollower) loadEarly() {
	w := f.wave.Wave
	if !f.ready {
		f.head.Epoch = 0
	}
	if w.Base == 0 && w.State != handlers.WaveRolled && w.Epoch == f.head.Epoch && slices.Contains(w.Canaries, f.cfg.Node) {
		f.early = f.head.Epoch
	}
}

// onTrial reports whether this node is to prove the wave's epoch.
func (f *siteFollower) onTrial() bool {
	w := f.wave.Wave
	return !w.Ended() && slices.Contains(w.Canaries, f.cfg.Node)
}

// siteDelta is the sites that an epoch brings, beside those of the epoch to go
// back to.
type siteDelta struct {
	epoch, base uint64
	ids         []string // sorted
}

// delta is that of the wave.
func (f *siteFollower) delta(ctx context.Context) (siteDelta, error) {
	w := f.wave.Wave
	if f.tried.epoch == w.Epoch && f.tried.base == w.Base {
		return f.tried, nil
	}
	var base site.Head
	if w.Base > 0 {
		rec, err := f.store.PinnedHead(ctx, w.Base)
		if err != nil && !errors.Is(err, store.ErrMissing) {
			return siteDelta{}, err
		}
		base = rec.Head
	}
	d := siteDelta{epoch: w.Epoch, base: w.Base}
	for _, e := range f.head.Sites {
		if old, _ := base.Find(e.ID); !e.Removed() && old != e {
			d.ids = append(d.ids, e.ID)
		}
	}
	f.tried = d
	return d, nil
}

// noteBefore looks at how sites answer that are about to be changed on trial:
// what they did wrong before is nothing to halt for.
func (f *siteFollower) noteBefore(ctx context.Context, list []store.SiteRecord) {
	if !f.onTrial() {
		return
	}
	base := f.wave.Wave.Base
	if f.head.Epoch != base { // what is served is on trial itself
		f.proof.forget(base)
		return
	}
	var checks []siteCheck
	for _, rec := range list {
		if own, ok := f.sites[rec.Site.ID]; ok {
			checks = append(checks, f.checkOf(own.Site))
		}
	}
	f.proof.noteBefore(ctx, base, checks)
}

// checkOf is what has to be seen of a site.
func (f *siteFollower) checkOf(s site.Site) siteCheck {
	c := siteCheck{id: s.ID, answers: len(s.Backends.Addresses) > 0 || len(f.wanted().Backends[s.ID]) > 0}
	for _, name := range s.ServerNames {
		if f.proof.covered(name) {
			c.names = append(c.names, name)
		}
	}
	return c
}

// prove gives the sites to be looked at that the wave brings, once nginx serves
// them; served is the epoch that it does.
func (f *siteFollower) prove(ctx context.Context, served uint64) {
	w := f.wave.Wave
	if !f.onTrial() || f.behind || w.Epoch != f.head.Epoch {
		f.proof.set(nil)
		return
	}
	if served != w.Epoch || f.view.notRunning() {
		return
	}
	d, err := f.delta(ctx)
	if err != nil {
		f.log.Warn("sites not looked at", "err", err)
		return // at the next look
	}
	f.proof.set(f.trial(d))
}

// trial is what there is to see, or why there is nothing.
func (f *siteFollower) trial(d siteDelta) *siteTrial {
	made := f.view.current().Sites
	t := &siteTrial{epoch: d.epoch}
	left := map[string]string{}
	for _, id := range d.ids {
		why := f.clash[id]
		if why == "" {
			why = made.Left[id]
		}
		switch {
		case why == "":
			t.sites = append(t.sites, f.checkOf(f.sites[id].Site))
		case f.clash[id] == "" && made.Awaits(id): // its certificate
		default:
			left[id] = why
		}
	}
	switch {
	case made.Kept != "":
		t.failed = "template of sites: " + made.Kept
	case len(left) > 0:
		t.failed, t.bad = siteReasons(left), idsOf(left)
	}
	return t
}
