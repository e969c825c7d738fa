package agent

import (
	"fmt"
	"slices"

	"github.com/tlsfleet/tlsfleet/agent/site"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// The node's own copies are sealed for the paths that they were read at: with
// waves and without, these are others. A node that has waves opens either, so that
// it goes on with what it followed before; one that has none reads the others afresh.

// headPath is what the node's copy of the head is sealed for.
func (f *siteFollower) headPath() string {
	if f.led() {
		return store.PinnedHeadPath
	}
	return store.SiteHeadPath
}

// sitePath is what the node's copy of a site is sealed for.
func (f *siteFollower) sitePath(id string) string {
	if f.led() {
		return store.PinnedSitePath(id)
	}
	return store.SitePath(id)
}

// load reads the node's own copies. What cannot be opened is fetched again, and
// until then the active release's sites stay as they are.
func (f *siteFollower) load() {
	f.sites = map[string]store.SiteRecord{}
	var err error
	if f.last, err = f.renderer.Backends(); err != nil {
		f.log.Warn("last backends not read", "err", err)
		f.last = map[string][]site.Backend{}
	}
	copies, err := f.renderer.SiteCopies()
	if err != nil {
		f.log.Warn("own copies of sites not read in full, reading the rest afresh", "err", err)
	}
	if f.cfg.Sites.Waves {
		f.loadWave(copies[waveCopy])
	}
	head, err := f.openHead(copies[headCopy])
	if err != nil {
		if copies[headCopy] != nil {
			f.log.Warn("own copy of the list of sites refused, reading it afresh", "err", err)
		}
		return
	}
	f.head, f.ready = head, true
	f.head.Sites = slices.DeleteFunc(slices.Clone(head.Sites), func(e site.Entry) bool {
		if e.Removed() {
			return false
		}
		rec, err := f.openCopy(e, copies[e.ID])
		if err != nil {
			f.log.Warn("own copy of a site refused, reading it afresh", "site", e.ID, "err", err)
			f.ready = false
			return true
		}
		f.sites[e.ID] = rec
		return false
	})
	if f.cfg.Sites.Waves {
		f.loadEarly()
	}
}

// openHead opens the node's copy of the list of sites.
func (f *siteFollower) openHead(sealed []byte) (site.Head, error) {
	if f.cfg.Sites.Waves {
		if head, err := f.store.OpenPinnedHead(sealed); err == nil {
			return head, nil
		}
	}
	return f.store.OpenSiteHead(sealed)
}

// openCopy opens the node's copy of a site if it is what the head's copy says.
func (f *siteFollower) openCopy(e site.Entry, sealed []byte) (store.SiteRecord, error) {
	rec, err := f.store.OpenSite(e.ID, sealed)
	if !f.cfg.Sites.Waves {
		if err == nil && rec.Epoch < e.Epoch {
			err = fmt.Errorf("it is of epoch %d, the head says %d", rec.Epoch, e.Epoch)
		}
		return rec, err
	}
	if err != nil {
		rec, err = f.store.OpenPinnedSite(e.ID, sealed)
	}
	if err == nil && (rec.Epoch != e.Epoch || rec.Hash != e.Hash) {
		err = fmt.Errorf("it is of epoch %d, the head says %d", rec.Epoch, e.Epoch)
	}
	return rec, err
}
