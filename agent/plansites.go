package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/site"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/handlers"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// heldSites is why a site that changes needs a reload.
const heldSites = "nginx reads virtual hosts when it starts"

// sites plans the sites that are in Consul, with the backends that its catalog
// has and the certificates that are live now.
func (p *planner) sites(ctx context.Context) error {
	f := &siteFollower{cfg: p.cfg, sites: map[string]store.SiteRecord{}}
	known, bad, err := p.wantedSites(ctx, f)
	if err != nil || !known {
		return err
	}
	if err := p.lookUpServices(ctx, f); err != nil {
		return err
	}
	list, clashes := withoutClashes(f.sites, siteSockets(p.cfg))
	s := sitesWith(p.cfg, f.head.Epoch, list)
	problems, _, _ := f.backends(s, time.Now())
	t := p.serving(p.here.live)
	plan, err := p.node.PlanSites(renderer.Release{TLS: t.servers(), Challenges: p.challenges(ctx), Sites: s}, p.nginx)
	if err != nil {
		return err
	}
	problems = append(append(clashProblems(clashes), problems...), siteProblems(plan.Made)...)
	p.out.Problems = append(p.out.Problems, problems...)
	if !plan.Same {
		plan.Files = slices.DeleteFunc(plan.Files, func(file renderer.SiteFile) bool { return bad[file.ID] != nil }) // served as it is
		p.siteChanges(plan)
	}
	return nil
}

// wantedSites reads the sites that this node has to serve, but for those that
// cannot be used. known is false if Consul does not say.
func (p *planner) wantedSites(ctx context.Context, f *siteFollower) (known bool, bad map[string]error, _ error) {
	head, read := p.store.SiteHead, p.store.Sites
	if p.cfg.Sites.Waves {
		head, read = p.pinnedHead, p.store.PinnedSites
	}
	rec, err := head(ctx)
	if errors.Is(err, errUnled) {
		read = p.store.Sites
		if rec, err = p.store.SiteHead(ctx); err == nil {
			p.problem("sites-unled", fleet.Warning, "no leader has said yet which sites are for this node: shown as they are set")
		}
	}
	switch {
	case errors.Is(err, store.ErrMissing):
		if p.here.view.active.Sites.Epoch > 0 {
			p.problem("sites-missing", fleet.Alarm, "Consul has no sites although there were some: every site stays")
		}
		return false, nil, nil
	case errors.Is(err, store.ErrRecord), errors.Is(err, store.ErrDenied):
		p.problem("sites-unreadable", fleet.Alarm, err.Error())
		return false, nil, nil
	case err != nil:
		return false, nil, err
	}
	if rec.Head.Epoch == 0 {
		return false, nil, nil
	}
	f.head = rec.Head
	list, bad, err := read(ctx, rec.Head.Sites)
	if err != nil {
		return false, nil, err
	}
	for _, r := range list {
		f.sites[r.Site.ID] = r
	}
	if len(bad) > 0 {
		p.problem("site-unreadable", fleet.Alarm, reasons(bad))
	}
	return true, bad, nil
}

// errUnled means that no leader has said which sites are for this node.
var errUnled = errors.New("no word on the sites")

// pinnedHead is the list of sites that the wave lets this node serve; the zero
// value: none, or those that it has. The error may be errUnled.
func (p *planner) pinnedHead(ctx context.Context) (store.SiteHeadRecord, error) {
	wave, err := p.store.Wave(ctx)
	if errors.Is(err, store.ErrMissing) || errors.Is(err, store.ErrDenied) {
		return store.SiteHeadRecord{}, errUnled
	}
	if err != nil {
		return store.SiteHeadRecord{}, err
	}
	may := wave.Wave.MayApply(p.cfg.Node)
	if may != wave.Wave.Epoch {
		p.problem("sites-not-yet", fleet.Warning, fmt.Sprintf("sites at epoch %d are not for this node yet: %s", wave.Wave.Epoch,
			SitesState{Epoch: wave.Wave.Epoch, Waves: true, Wave: &wave.Wave}.Text()))
	}
	if may == 0 {
		return store.SiteHeadRecord{}, nil
	}
	return p.store.PinnedHead(ctx, may)
}

// lookUpServices asks the catalog for each service in use, once.
func (p *planner) lookUpServices(ctx context.Context, f *siteFollower) error {
	last, err := p.node.Backends()
	if err != nil {
		p.problem("backends-unread", fleet.Warning, err.Error())
		last = map[string][]site.Backend{}
	}
	f.last, f.pool.by = last, map[string]*serviceState{}
	for _, s := range f.services() {
		state := &serviceState{}
		if state.got, state.err = p.store.Instances(ctx, s); ctx.Err() != nil {
			return ctx.Err()
		}
		state.answered = state.err == nil
		f.pool.by[s.String()] = state
	}
	return nil
}

// siteChanges lists the files that change; or that only what they include does.
func (p *planner) siteChanges(plan renderer.SitesPlan) {
	active := p.here.view.active.Sites
	changed := 0
	for _, file := range plan.Files {
		c := PlannedChange{Subject: PlanSite, Name: file.ID, From: "served", To: "served", Effect: handlers.EffectReload, Reason: "its file changes"}
		switch {
		case file.ID == "":
			c.Name, c.From, c.To, c.Reason = file.Name, "", "", "what sites share changes"
		case file.Was == nil:
			c.From, c.Reason = "", "a new site"
		case file.Now == nil:
			c.To, c.Reason = "", "it was removed"
			if why := plan.Made.Left[file.ID]; why != "" {
				c.Reason = "left out: " + why
			}
		}
		if active.Left[file.ID] != "" && file.Was == nil {
			c.Reason = "it can be served now, or is tried again"
		}
		c.Diff = string(diff.Diff(file.Name, file.Was, file.Name, file.Now))
		p.out.Changes = append(p.out.Changes, c)
		changed++
	}
	if changed == 0 {
		if len(plan.Made.Files) == 0 {
			return
		}
		p.reload(PlanSite, fmt.Sprintf("release %d", p.here.view.active.Release), "a new release",
			"files that sites include, or what nginx refused of them, may have changed")
		return
	}
	p.out.Reasons = append(p.out.Reasons, fmt.Sprintf("%d files of sites change: %s", changed, heldSites))
}
