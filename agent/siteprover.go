package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/probe"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// How sites on trial are looked at.
const (
	sitePatience = 5 * time.Second        // old workers and new backends take a moment
	siteEvery    = 500 * time.Millisecond // while it lasts
	siteAnswer   = 10 * time.Second       // for one answer
	mostNames    = 1000                   // of all sites; above that one of each
)

// siteCheck is what has to be seen of a site.
type siteCheck struct {
	id      string
	names   []string // that have a certificate here
	answers bool     // it has backends
}

// siteTrial is the sites that an epoch brings.
type siteTrial struct {
	epoch  uint64
	sites  []siteCheck
	failed string // what is wrong without a look
	bad    string // with these sites, by IDs with spaces between
}

func (t *siteTrial) same(o *siteTrial) bool {
	if t == nil || o == nil {
		return t == o
	}
	return t.epoch == o.epoch && t.failed == o.failed && t.bad == o.bad && slices.EqualFunc(t.sites, o.sites, func(a, b siteCheck) bool {
		return a.id == b.id && a.answers == b.answers && slices.Equal(a.names, b.names)
	})
}

// siteProver looks from outside at the sites that this node serves before the
// others do.
type siteProver struct {
	log      hclog.Logger
	renderer *renderer.Renderer
	prober   *probe.Prober
	served   *served
	told     func(fleet.SitesProof)
	wake     wake

	mu     sync.Mutex
	trial  *siteTrial
	base   uint64          // epoch of before
	before map[string]bool // sites that did not answer well before they were changed
}

func newSiteProver(a *Agent) *siteProver {
	return &siteProver{
		log: a.log.Named("sites"), renderer: a.renderer, prober: &probe.Prober{Timeout: siteAnswer}, served: &a.certs.served,
		told: a.view.provedSites, wake: newWake(),
	}
}

// set gives the sites to look at; nil: none are on trial.
func (p *siteProver) set(t *siteTrial) {
	p.mu.Lock()
	same := p.trial.same(t)
	p.trial = t
	p.mu.Unlock()
	if !same {
		p.wake.give()
	}
}

func (p *siteProver) current() (*siteTrial, map[string]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.trial, p.before
}

// Run looks until ctx ends.
func (p *siteProver) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		}
		t, before := p.current()
		proof, known := p.judge(ctx, t, before)
		if now, _ := p.current(); known && ctx.Err() == nil && now.same(t) {
			p.told(proof)
		}
	}
}

// judge looks at a trial until it is passed, patience ends or there is another
// one; known is false then.
func (p *siteProver) judge(ctx context.Context, t *siteTrial, before map[string]bool) (proof fleet.SitesProof, known bool) {
	switch {
	case t == nil:
		return fleet.SitesProof{}, true
	case t.failed != "":
		return fleet.SitesProof{Epoch: t.epoch, Failed: fmt.Sprintf("%.500s", t.failed), Bad: t.bad}, true
	}
	began := time.Now()
	for {
		bad := p.round(ctx, t.sites, before)
		if len(bad) == 0 {
			p.log.Info("sites proved", "epoch", t.epoch, "sites", len(t.sites), "took", time.Since(began).Round(time.Millisecond))
			return fleet.SitesProof{Epoch: t.epoch, Proved: true}, true
		}
		if time.Since(began) >= sitePatience {
			p.log.Warn("sites not proved", "epoch", t.epoch, "reason", siteReasons(bad))
			return fleet.SitesProof{Epoch: t.epoch, Failed: fmt.Sprintf("%.500s", siteReasons(bad)), Bad: idsOf(bad)}, true
		}
		select {
		case <-ctx.Done():
			return proof, false
		case <-time.After(siteEvery):
		}
		if now, _ := p.current(); !now.same(t) {
			return proof, false
		}
	}
}

// round looks once at each site, and says what is wrong, by ID.
func (p *siteProver) round(ctx context.Context, sites []siteCheck, before map[string]bool) map[string]string {
	bad := map[string]string{}
	places, err := p.renderer.Places()
	if err != nil {
		for _, c := range sites {
			bad[c.id] = err.Error()
		}
		return bad
	}
	total := 0
	for _, c := range sites {
		total += len(c.names)
	}
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(proofs)
	for _, c := range sites {
		if total > mostNames {
			c.names = c.names[:min(len(c.names), 1)]
		}
		for i, name := range c.names {
			g.Go(func() error {
				if err := p.look(ctx, places, c, name, i == 0 && !before[c.id]); err != nil {
					mu.Lock()
					bad[c.id] = err.Error()
					mu.Unlock()
				}
				return nil
			})
		}
	}
	if err := g.Wait(); err != nil {
		p.log.Error("sites not looked at", "err", err)
	}
	return bad
}

// look shakes hands for a name on each socket of its site, and asks for a page.
func (p *siteProver) look(ctx context.Context, places renderer.Places, c siteCheck, name string, page bool) error {
	sni := name
	if base, ok := strings.CutPrefix(name, fleet.Wildcard); ok {
		sni = "tlsfleet-probe." + base
	}
	listeners := places.Site(c.id, sni)
	if len(listeners) == 0 {
		return fmt.Errorf("nginx gives %s to another server", name)
	}
	for _, l := range listeners {
		if !page {
			if _, err := p.prober.Leaf(ctx, l); err != nil {
				return fmt.Errorf("%s on %s: %w", name, l.Listen, err)
			}
			continue
		}
		got, err := p.prober.Answer(ctx, l)
		switch {
		case err != nil:
			return fmt.Errorf("%s on %s: %w", name, l.Listen, err)
		case got.Own && c.answers:
			return fmt.Errorf("%s on %s is answered %d by nginx: see its error log, and whether the backends answer", name, l.Listen, got.Status)
		}
	}
	return nil
}

// noteBefore remembers which sites do not answer well as they are now.
func (p *siteProver) noteBefore(ctx context.Context, base uint64, sites []siteCheck) {
	before := map[string]bool{}
	for id, why := range p.round(ctx, sites, nil) {
		before[id] = true
		p.log.Info("site did not answer before it is changed", "site", id, "reason", why)
	}
	p.mu.Lock()
	p.base, p.before = base, before
	p.mu.Unlock()
}

// forget drops what was noted of other sites than those to go back to.
func (p *siteProver) forget(base uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.base != base {
		p.base, p.before = base, nil
	}
}

// covered reports whether there is a certificate for a name on this node.
func (p *siteProver) covered(name string) bool {
	if _, ok := p.served.bundle(name); ok {
		return true
	}
	_, above, _ := strings.Cut(name, ".")
	_, ok := p.served.bundle(fleet.Wildcard + above)
	return ok
}

// mostBad is how many bad sites a report names; with more it is about all sites.
const mostBad = 100

// idsOf is the IDs of sites that are in a map with reasons, as reports have them.
func idsOf(bad map[string]string) string {
	if len(bad) > mostBad {
		return ""
	}
	return strings.Join(slices.Sorted(maps.Keys(bad)), " ")
}
