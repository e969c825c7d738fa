package renderer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/site"
)

// suspect is a site that a release may be refused for.
type suspect struct {
	id   string
	text fleet.Hash // with the operator's files that it includes
	own  bool       // it includes none
}

// suspectSites are those that differ from the active release, or include files
// of the operator, which may have changed since.
func (r *Renderer) suspectSites(files siteFiles) []suspect {
	was := r.madeSites().Files
	var all []suspect
	for _, f := range files {
		id, ok := siteOf(f.Name)
		own := len(includedBy(f.Text)) == 0
		if ok && (!own || was[f.Name] != sha256.Sum256(f.Text)) {
			all = append(all, suspect{id, siteText(f.Text), own})
		}
	}
	return all
}

// findSite looks for a site to leave out where nginx's message names none, as of
// a variable that is not known: the first one with which nginx refuses what it
// takes without. It notes the site and reports whether there is one, after as
// many tests as halving the suspects takes. The caller holds r.mu.
func (r *Renderer) findSite(ctx context.Context, c *change, rel Release, refused *refusal) (bool, error) {
	suspects := r.suspectSites(c.sites)
	if len(suspects) == 0 || len(r.blamed(refused.text, c.began)) > 0 || blamesOneOf(refused.text, c.from.templateFiles(c.sites)) {
		return false, nil
	}
	if c.m.Sites.Kept != "" { // what is tried has to be of the same text
		rel.Sites = Sites{Keep: true}
	}
	b, err := r.build(ctx)
	if err != nil {
		r.cfg.Log.Debug("nginx does not tell its version", "err", err)
	}
	takes := func(n int) (bool, error) { return r.takesSites(ctx, rel, c.in, b.version, suspects[n:]) }
	if ok, err := takes(0); err != nil || !ok {
		return false, err // errNoMirror, or it is about something else
	}
	low, high := 0, len(suspects) // nginx takes the first low ones, and not the first high ones
	for high-low > 1 {
		middle := (low + high) / 2
		ok, err := takes(middle)
		if err != nil {
			return false, err
		}
		if ok {
			low = middle
		} else {
			high = middle
		}
	}
	guilty := suspects[low]
	shared := false // what they all include by their template may be to blame
	if low == 0 && len(suspects) > 1 && len(c.from.templateFiles(c.sites)) > 0 {
		alone, err := r.takesSites(ctx, rel, c.in, b.version, suspects[:len(suspects)-1])
		if err != nil {
			return false, err
		}
		shared = !alone
	}
	own, err := r.byItsText(ctx, c, rel, b.version, guilty)
	if err != nil || shared && !own {
		return false, err
	}
	r.refused[guilty.id] = newRefused(guilty.text, refused.text, own)
	return true, nil
}

// byItsText reports whether the text of a site is to blame and not what it
// includes: that is nothing, or nginx takes the site with the same files of the
// operator in the text that the template before has made of it.
func (r *Renderer) byItsText(ctx context.Context, c *change, rel Release, version string, guilty suspect) (bool, error) {
	if guilty.own || c.m.Sites.Template == r.madeSites().Template {
		return guilty.own, nil
	}
	_, files, err := r.keptSites("")
	if err != nil {
		return false, err
	}
	found, before := false, []string{}
	var others []suspect
	for _, f := range files {
		id, ok := siteOf(f.Name)
		switch {
		case id == guilty.id:
			found, before = true, includedBy(f.Text)
		case ok:
			others = append(others, suspect{id: id, text: siteText(f.Text)})
		}
	}
	i := slices.IndexFunc(rel.Sites.List, func(s site.Site) bool { return s.ID == guilty.id })
	if !found || i < 0 {
		return false, nil
	}
	for _, path := range SiteFiles(rel.Sites.SnippetsDir, rel.Sites.List[i]) {
		if !slices.Contains(before, path) {
			return false, nil
		}
	}
	rel.Sites = Sites{Keep: true}
	return r.takesSites(ctx, rel, c.in, version, others)
}

// takesSites reports whether nginx takes a release without some of its sites,
// and removes it again.
func (r *Renderer) takesSites(ctx context.Context, rel Release, in Inspection, version string, without []suspect) (bool, error) {
	known := r.refused
	defer func() { r.refused = known }()
	r.refused = maps.Clone(known)
	for _, s := range without {
		r.refused[s.id] = refusedSite{file: s.text, why: "left out to find which one nginx refuses"}
	}
	m, _, err := r.stage(rel, in, version)
	if err != nil {
		return false, err
	}
	verdict := r.testStaged(ctx, m.Release)
	if err := os.RemoveAll(r.cfg.releaseDir(m.Release)); err != nil {
		return false, errors.Join(verdict, fmt.Errorf("remove release %d: %w", m.Release, err))
	}
	var refused *refusal
	if errors.As(verdict, &refused) {
		return false, nil
	}
	return verdict == nil, verdict
}
