package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/site"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/renderer"
	"github.com/tlsfleet/tlsfleet/templates"
)

// backendsWait is how long a site waits for the first word of Consul's catalog
// about its service.
const backendsWait = 10 * time.Second

// compose makes what releases serve of the sites that are here. later is when to
// do that again; 0: not before there is news.
func (f *siteFollower) compose(now time.Time) (later time.Duration) {
	if !f.ready {
		return 0
	}
	list, clashes := withoutClashes(f.sites, siteSockets(f.cfg))
	s := sitesWith(f.cfg, f.head.Epoch, list)
	f.clash = clashes
	problems := clashProblems(clashes)
	told, kept, settled := f.backends(s, now)
	problems = append(problems, told...)
	if !settled {
		return time.Second
	}
	if f.problems.replace("sites-composed", problems...); kept {
		if err := f.renderer.SaveBackends(f.last); err != nil {
			f.log.Warn("last backends not saved", "err", err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = s
	return 0
}

// sitesWith is these sites on this node, without backends of services.
func sitesWith(cfg config.Config, epoch uint64, list []site.Site) renderer.Sites {
	s := renderer.Sites{
		Epoch: epoch, List: list, Backends: map[string][]site.Backend{}, SnippetsDir: cfg.Sites.SnippetsDir,
		Listen: cfg.Certificates.Listen, HTTPListen: cfg.ACME.HTTPListen, Template: readTemplate(cfg.Sites),
	}
	if len(s.Listen) == 0 {
		s.Listen = []string{"443 ssl"}
	}
	if len(s.HTTPListen) == 0 {
		s.HTTPListen = []string{"80"}
	}
	return s
}

func clashProblems(clashes map[string]string) []fleet.Problem {
	if len(clashes) == 0 {
		return nil
	}
	return []fleet.Problem{{Code: "site-clash", Severity: fleet.Alarm, Message: siteReasons(clashes),
		Hint: "the site that was set last is left out; change or remove one of them"}}
}

// withoutClashes is the sites by ID without those that clash with one that was
// set before them, and why.
func withoutClashes(sites map[string]store.SiteRecord, node site.Sockets) (list []site.Site, out map[string]string) {
	out = map[string]string{}
	for _, id := range slices.Sorted(maps.Keys(sites)) {
		list = append(list, sites[id].Site)
	}
	for {
		// The later of two goes, unless the other one goes itself.
		losers, clashes := map[string]bool{}, site.Clashes(list, node)
		for _, c := range clashes {
			losers[loser(sites, c)] = true
		}
		for _, c := range clashes {
			id := loser(sites, c)
			if winner := c.A; c.B == "" || winner == id && !losers[c.B] || winner != id && !losers[winner] {
				out[id] = c.Error()
			}
		}
		if len(clashes) == 0 {
			return list, out
		}
		list = slices.DeleteFunc(list, func(s site.Site) bool { return out[s.ID] != "" })
	}
}

// loser is the site of a clash that was set later.
func loser(sites map[string]store.SiteRecord, c site.Clash) string {
	if c.B != "" && sites[c.B].Epoch >= sites[c.A].Epoch {
		return c.B
	}
	return c.A
}

// backends fills in the backends of services: what the catalog says, else the
// last ones. settled is false while a service has neither.
func (f *siteFollower) backends(s renderer.Sites, now time.Time) (problems []fleet.Problem, changed, settled bool) {
	kept, none := map[string]string{}, map[string]string{}
	used := map[string]bool{}
	settled = true
	for _, v := range s.List {
		if v.Backends.Service == "" {
			continue
		}
		key := serviceOf(v.Backends).String()
		used[key] = true
		state := f.pool.state(key)
		last := f.last[key]
		if len(state.got.Backends) > 0 {
			if !slices.Equal(last, state.got.Backends) {
				f.last[key], changed = state.got.Backends, true
			}
			s.Backends[v.ID] = state.got.Backends
			if errors.Is(state.err, store.ErrDenied) || errors.Is(state.err, store.ErrInstances) {
				kept[v.ID] = state.err.Error() // other errors are told as lost contact
			}
			continue
		}
		if !state.answered && state.err == nil && len(last) == 0 && now.Sub(state.since) < backendsWait {
			settled = false
		}
		why := state.why(v.Backends.Service)
		switch {
		case len(last) > 0 && (v.Backends.KeepLast || !state.answered):
			s.Backends[v.ID] = last
			if state.answered || state.err != nil {
				kept[v.ID] = why
			}
		default:
			none[v.ID] = why
		}
	}
	for key := range f.last {
		if !used[key] {
			delete(f.last, key)
			changed = true
		}
	}
	if len(kept) > 0 {
		problems = append(problems, fleet.Problem{Code: "site-backends-kept", Severity: fleet.Warning, Message: siteReasons(kept),
			Hint: "requests go to the last known backends"})
	}
	if len(none) > 0 {
		problems = append(problems, fleet.Problem{Code: "site-without-backends", Severity: fleet.Alarm, Message: siteReasons(none),
			Hint: "requests are answered 503; compare the service with consul catalog services, and the rights with tlsfleet policy"})
	}
	return problems, changed, settled
}

// compare asks for a release if the active one is not what would be made now,
// and tells what became of the sites in it. served is the epoch that nginx
// serves; 0: another release is needed, or that is not known.
func (f *siteFollower) compare(ctx context.Context) (served uint64) {
	s := f.wanted()
	active := f.view.current()
	f.problems.replace("sites-made", siteProblems(active.Sites)...)
	if s.Keep || ctx.Err() != nil {
		return 0
	}
	version, err := f.renderer.NginxVersion(ctx)
	if err != nil {
		f.log.Debug("nginx does not tell its version", "err", err)
	}
	rel := renderer.Release{Challenges: f.serving.challenges(), Sites: s}
	if len(s.List) > 0 { // the names of 100,000 certificates are not listed for nothing
		rel.TLS = f.serving.servers()
	}
	input, err := f.renderer.SitesInput(rel, version)
	if err != nil {
		f.log.Error("sites not compared", "err", err)
		return 0
	}
	if input == active.Sites.Input { // none, and none in what nginx has without a release, are the same
		f.asked = fleet.Hash{}
		if f.view.servedSites(s.Epoch) {
			f.log.Info("sites served", "epoch", s.Epoch, "sites", active.Sites.Served)
		}
		f.tryAgain(ctx, active.Sites, s)
		return s.Epoch
	}
	if input == f.asked && !input.IsZero() {
		return 0
	}
	f.asked = input
	f.ask(siteReason(active.Sites, s))
	return 0
}

// tryAgain asks for a release if nginx takes sites now that it has refused.
func (f *siteFollower) tryAgain(ctx context.Context, active renderer.SitesMade, s renderer.Sites) {
	rel, _ := f.view.release()
	if len(active.Left) == 0 || rel.Mode == fleet.ModeNone {
		return
	}
	rel.TLS, rel.Challenges, rel.Sites = f.serving.servers(), f.serving.challenges(), s
	defer f.processors.Use()()
	taken, err := f.renderer.TrySites(ctx, rel, time.Now())
	if err != nil && ctx.Err() == nil {
		f.log.Debug("sites that are left out not tried again", "err", err)
	}
	if len(taken) > 0 {
		f.ask("nginx takes sites that it refused before: " + fewNames(taken))
	}
}

// siteReason is what a release for sites is for.
func siteReason(active renderer.SitesMade, s renderer.Sites) string {
	if active.Epoch != s.Epoch {
		return fmt.Sprintf("sites at epoch %d", s.Epoch)
	}
	return "backends or files of sites changed"
}

// siteProblems is what is wrong with the sites of a release.
func siteProblems(made renderer.SitesMade) []fleet.Problem {
	var list []fleet.Problem
	if len(made.Left) > 0 {
		list = append(list, fleet.Problem{Code: "site-refused", Severity: fleet.Alarm, Message: siteReasons(made.Left),
			Hint: "it is not served here, the others are; mend the site or the file that is named"})
	}
	if made.Kept != "" {
		list = append(list, fleet.Problem{Code: "site-template", Severity: fleet.Alarm, Message: fmt.Sprintf("%.600s", made.Kept),
			Hint: "sites are served as before; mend the template, or remove it to use tlsfleet's own"})
	}
	return list
}

// readTemplate is the operator's template of sites, if there is one.
func readTemplate(cfg config.Sites) renderer.SiteSource {
	path := filepath.Join(cfg.TemplatesDir, templates.SiteTemplateName)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return renderer.SiteSource{}
	}
	src := renderer.SiteSource{File: path, Err: err}
	if err == nil && (!info.Mode().IsRegular() || info.Size() > 1<<20) {
		src.Err = errors.New("it is not a file of at most 1 MiB")
	}
	if src.Err == nil {
		src.Text, src.Err = os.ReadFile(path) //nolint:gosec // the operator's
	}
	return src
}

// fewOf is some of many lines as one.
func fewOf(lines []string) string {
	const few = 5
	if len(lines) > few {
		lines = append(lines[:few:few], fmt.Sprintf("and %d more", len(lines)-few))
	}
	return strings.Join(lines, "; ")
}
