package agent

import (
	"context"
	"errors"
	"slices"

	"github.com/tlsfleet/tlsfleet/agent/archive"
	"github.com/tlsfleet/tlsfleet/agent/site"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// copySites is how many sites are in memory at a time.
const copySites = 64

// sites copies the sites that have changed, and then their head, which it
// returns without those that could not be read. What is missing, older or
// cannot be read holds up nothing else and stays as it was copied before: every
// node tells of it.
func (c *copier) sites(ctx context.Context, next *archive.Manifest) (site.Head, error) {
	rec, err := c.store.SiteHead(ctx)
	if err == nil && rec.Head.Epoch < c.siteHead.Epoch {
		err = errShrunk
	}
	switch {
	case errors.Is(err, errShrunk), errors.Is(err, store.ErrMissing), errors.Is(err, store.ErrRecord), errors.Is(err, store.ErrDenied):
		if c.keepSites(next) {
			c.log.Error("sites cannot be copied", "err", err)
		}
		return c.siteHead, nil
	case err != nil:
		return site.Head{}, err
	}
	var moved []site.Entry
	for _, e := range rec.Head.Sites {
		path := store.SitePath(e.ID)
		was, had := c.manifest.Records[path]
		switch old, _ := c.siteHead.Find(e.ID); {
		case e.Removed():
			continue
		case had:
			next.Records[path] = was
			if old.Epoch == e.Epoch {
				continue
			}
		}
		moved = append(moved, e)
	}
	head := rec.Head
	c.tell(len(moved))
	for part := range slices.Chunk(moved, copySites) {
		list, bad, err := c.store.Sites(ctx, part)
		if err != nil {
			return site.Head{}, err
		}
		for _, r := range list {
			path := store.SitePath(r.Site.ID)
			if next.Records[path], err = c.put(ctx, path, r.Sealed, c.manifest.Records[path]); err != nil {
				return site.Head{}, err
			}
		}
		for id, err := range bad {
			c.log.Error("site cannot be copied", "site", id, "err", err)
		}
		head.Sites = slices.DeleteFunc(slices.Clone(head.Sites), func(e site.Entry) bool { return bad[e.ID] != nil })
	}
	next.Records[store.SiteHeadPath], err = c.put(ctx, store.SiteHeadPath, rec.Sealed, c.manifest.Records[store.SiteHeadPath])
	return head, err
}

// keepSites keeps the sites of the copy. It reports whether there are any.
func (c *copier) keepSites(next *archive.Manifest) bool {
	kept := false
	for path, d := range c.manifest.Records {
		if _, ok := store.SiteOf(path); ok || path == store.SiteHeadPath {
			next.Records[path], kept = d, true
		}
	}
	return kept
}

// sitesIn is how many sites a copy has.
func sitesIn(m archive.Manifest) int {
	n := 0
	for path := range m.Records {
		if _, ok := store.SiteOf(path); ok {
			n++
		}
	}
	return n
}
