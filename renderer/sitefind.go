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
	id       string
	text     fleet.Hash // with the operator's files that it includes
	includes []string   // those files
	changed  bool       // since the active release, apart from them
}

// suspectSites are those that differ from the active release, or include files
// of the operator, which may have changed since.
func (r *Renderer) suspectSites(files siteFiles) []suspect {
	was := r.madeSites().Files
	var all []suspect
	for _, f := range files {
		id, ok := siteOf(f.Name)
		s := suspect{id, siteText(f.Text), includedBy(f.Text), was[f.Name] != sha256.Sum256(f.Text)}
		if ok && (s.changed || len(s.includes) > 0) {
			all = append(all, s)
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
	takes := func(without []suspect) (bool, error) { return r.takesSites(ctx, rel, c.in, b.version, without) }
	i, err := firstRefused(suspects, takes)
	if err != nil || i < 0 {
		return false, err
	}
	own, err := r.byItsText(ctx, c, rel, b.version, suspects[i])
	if err != nil {
		return false, err
	}
	if i == 0 && !own {
		shared, err := byTemplateFile(suspects, c.from.templateFiles(c.sites), takes)
		if err != nil || shared {
			return false, err
		}
	}
	r.refused[suspects[i].id] = newRefused(suspects[i].text, refused.text, own)
	return true, nil
}

// firstRefused is the index of the first site with which nginx refuses what it
// takes without; -1 if it takes none of it, as it is about something else then.
func firstRefused(suspects []suspect, takes func(without []suspect) (bool, error)) (int, error) {
	if ok, err := takes(suspects); err != nil || !ok {
		return -1, err // errNoMirror, perhaps
	}
	low, high := 0, len(suspects) // nginx takes the first low ones, and not the first high ones
	for high-low > 1 {
		middle := (low + high) / 2
		ok, err := takes(suspects[middle:])
		if err != nil {
			return -1, err
		}
		if ok {
			low = middle
		} else {
			high = middle
		}
	}
	return low, nil
}

// byTemplateFile reports whether one of the files that sites include because
// their template does is to blame, for which nginx refuses the first suspect:
// it refuses the last one for it as well, or nothing else of the only one is new.
func byTemplateFile(suspects []suspect, shared []string, takes func(without []suspect) (bool, error)) (bool, error) {
	switch others := len(suspects) - 1; {
	case len(shared) == 0:
		return false, nil
	case others == 0:
		mine := func(path string) bool { return !slices.Contains(shared, path) }
		return !suspects[0].changed && !slices.ContainsFunc(suspects[0].includes, mine), nil
	default:
		ok, err := takes(suspects[:others])
		return !ok, err
	}
}

// byItsText reports whether the text of a site is to blame and not what it
// includes: that is nothing, or nginx takes the site with the same files of the
// operator in the text that the template before has made of it.
func (r *Renderer) byItsText(ctx context.Context, c *change, rel Release, version string, guilty suspect) (bool, error) {
	if own := len(guilty.includes) == 0; own || c.m.Sites.Template == r.madeSites().Template {
		return own, nil
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
