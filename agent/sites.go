package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/site"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// ErrUnknownSite means that the fleet has no such site.
var ErrUnknownSite = errors.New("there is no such site")

// SiteStatus is one site of the fleet.
type SiteStatus struct {
	ID      string     `json:"id"`
	Epoch   uint64     `json:"epoch"`             // of the head, when it was last set
	Site    *site.Site `json:"site,omitempty"`    // nil: it cannot be read
	Problem string     `json:"problem,omitempty"` // why
}

// ReadSites reads and checks the sites of a file, in HCL or JSON; filename is
// only for the errors, which are *site.FieldError.
func ReadSites(src []byte, filename string) ([]site.Site, error) {
	return site.Parse(src, filename, inventory.Normalize)
}

// siteSockets is what nodes with this configuration open for sites that name no
// sockets of their own.
func siteSockets(cfg config.Config) site.Sockets {
	sockets := site.DefaultSockets()
	if own := socketsOf(cfg.Certificates.Listen); len(own) > 0 {
		sockets.TLS = own
	}
	if own := socketsOf(cfg.ACME.HTTPListen); len(own) > 0 {
		sockets.HTTP = own
	}
	return sockets
}

// socketsOf is the sockets of listen parameters, such as "443 ssl".
func socketsOf(parameters []string) []string {
	var sockets []string
	for _, p := range parameters {
		first, _, _ := strings.Cut(strings.TrimSpace(p), " ")
		if socket, err := site.Socket(first); err == nil {
			sockets = append(sockets, socket)
		}
	}
	return sockets
}

// Sites lists all sites by ID, those that cannot be read too.
func (c *Console) Sites(ctx context.Context) ([]SiteStatus, error) {
	head, err := c.store.SiteHead(ctx)
	if errors.Is(err, store.ErrMissing) {
		return []SiteStatus{}, nil
	}
	if err != nil {
		return nil, err
	}
	return c.siteStatus(ctx, head.Head.Sites)
}

// siteStatus reads the sites of entries of the head.
func (c *Console) siteStatus(ctx context.Context, entries []site.Entry) ([]SiteStatus, error) {
	found, bad, err := c.store.Sites(ctx, entries)
	if err != nil {
		return nil, err
	}
	list := make([]SiteStatus, 0, len(found)+len(bad))
	for _, rec := range found {
		list = append(list, SiteStatus{ID: rec.Site.ID, Epoch: rec.Epoch, Site: &rec.Site})
	}
	for _, e := range entries {
		if err := bad[e.ID]; err != nil {
			list = append(list, SiteStatus{ID: e.ID, Epoch: e.Epoch, Problem: err.Error()})
		}
	}
	slices.SortFunc(list, func(a, b SiteStatus) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// Site is one site. ErrUnknownSite if there is none.
func (c *Console) Site(ctx context.Context, id string) (SiteStatus, error) {
	list, err := c.sitesOf(ctx, []string{id})
	if err != nil {
		return SiteStatus{}, err
	}
	return list[0], nil
}

// sitesOf is the sites with these IDs. ErrUnknownSite if one is not there.
func (c *Console) sitesOf(ctx context.Context, ids []string) ([]SiteStatus, error) {
	head, err := c.store.SiteHead(ctx)
	if err != nil && !errors.Is(err, store.ErrMissing) {
		return nil, err
	}
	var entries []site.Entry
	var unknown []string
	for _, id := range ids {
		if e, ok := head.Head.Find(id); ok && !e.Removed() {
			entries = append(entries, e)
		} else {
			unknown = append(unknown, fmt.Sprintf("%.80q", id))
		}
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("%s: %w", fewNames(unknown), ErrUnknownSite)
	}
	return c.siteStatus(ctx, entries)
}

// SetSites puts sites into the fleet, or changes those that are there: all, or
// none if one cannot be used. Errors wrap site.ErrSite if it clashes with
// another one. What the error is about may be written in part when many are set.
// Canaries serve them first, unless they are wanted on all nodes now. If all are
// there already, those that a halt keeps from the nodes are set once more.
func (c *Console) SetSites(ctx context.Context, sites []site.Site, now bool) (store.SitesEdited, error) {
	for _, s := range sites {
		if _, err := site.Encode(s, 1); err != nil {
			return store.SitesEdited{}, err
		}
	}
	check := func(after []site.Site) error { return c.clashes(after, sites) }
	edit := store.SiteEdit{Put: sites, Check: check, Now: now}
	done, err := c.store.EditSites(ctx, edit)
	if err == nil && len(done.Added)+len(done.Changed) == 0 {
		return c.again(ctx, done, edit)
	}
	return done, err
}

// clashes refuses what one of the sites that are set clashes with: that two
// others do is not their fault.
func (c *Console) clashes(after, set []site.Site) error {
	ours := map[string]bool{}
	for _, s := range set {
		ours[s.ID] = true
	}
	var all []error
	for _, clash := range site.Clashes(after, siteSockets(c.cfg)) {
		if ours[clash.A] || ours[clash.B] {
			all = append(all, clash)
		}
	}
	return errors.Join(all...)
}

// RemoveSites takes sites out of the fleet: all, or none if one is not there
// (ErrUnknownSite). Canaries are without them first, unless that is wanted on all
// nodes now.
func (c *Console) RemoveSites(ctx context.Context, ids []string, now bool) (store.SitesEdited, error) {
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	if _, err := c.sitesOf(ctx, ids); err != nil {
		return store.SitesEdited{}, err
	}
	return c.store.EditSites(ctx, store.SiteEdit{Remove: ids, Now: now})
}

// PlanSiteRemoval is what RemoveSites would remove.
func (c *Console) PlanSiteRemoval(ctx context.Context, ids []string) ([]SiteStatus, error) {
	return c.sitesOf(ctx, slices.Compact(slices.Sorted(slices.Values(ids))))
}

// SiteDiff is what setting a site would do.
type SiteDiff struct {
	ID      string            `json:"id"`
	Change  string            `json:"change"` // "new", "changed", "same" or "repaired"
	Fields  []site.Difference `json:"fields,omitempty"`
	Problem string            `json:"problem,omitempty"` // why the one that is there cannot be read
}

// What setting a site would do.
const (
	SiteNew      = "new"
	SiteChanged  = "changed"
	SiteSame     = "same"
	SiteRepaired = "repaired" // the one that is there cannot be read
)

// DiffSites says what SetSites would change, in the order of the sites, and, as
// an error beside that, what it would refuse.
func (c *Console) DiffSites(ctx context.Context, sites []site.Site) ([]SiteDiff, error) {
	list, err := c.Sites(ctx)
	if err != nil {
		return nil, err
	}
	now, after := map[string]SiteStatus{}, map[string]site.Site{}
	for _, s := range list {
		now[s.ID] = s
		if s.Site != nil {
			after[s.ID] = *s.Site
		}
	}
	diffs := make([]SiteDiff, 0, len(sites))
	for _, s := range sites {
		d, err := diffSite(now[s.ID], s)
		if err != nil {
			return nil, err
		}
		diffs = append(diffs, d)
		after[s.ID] = s
	}
	var all []site.Site
	for _, s := range after {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b site.Site) int { return strings.Compare(a.ID, b.ID) })
	return diffs, c.clashes(all, sites)
}

func diffSite(now SiteStatus, s site.Site) (SiteDiff, error) {
	d := SiteDiff{ID: s.ID}
	switch {
	case now.ID == "":
		d.Change = SiteNew
		return d, nil
	case now.Site == nil:
		d.Change, d.Problem = SiteRepaired, now.Problem
		return d, nil
	}
	var err error
	d.Fields, err = site.Diff(*now.Site, s)
	d.Change = SiteChanged
	if len(d.Fields) == 0 {
		d.Change = SiteSame
	}
	return d, err
}
