package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/handlers"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// serving is how this node would serve these certificates.
func (p *planner) serving(live map[string]fleet.Hash) *tlsServing {
	t := &tlsServing{log: p.log, cfg: p.cfg.Certificates, view: &p.here.view, served: &served{}}
	t.served.reset(live)
	return t
}

// base is what a plan depends on whatever is served.
func (p *planner) base() handlers.CertServing {
	return handlers.CertServing{OnDemand: p.cfg.Certificates.Mode == config.CertOnDemand, Held: p.held}
}

// certificates plans the changes of names, and of how they are served.
func (p *planner) certificates(changes []handlers.NameChange) {
	after := handlers.AfterChanges(p.base(), p.here.live, changes)
	t := p.serving(after)
	serving := t.decides(p.held)
	var batch handlers.CertChange
	for _, x := range handlers.PreviewCerts(serving, changes) {
		p.out.Changes = append(p.out.Changes, planned(x))
		if x.Effect != handlers.EffectReload {
			continue
		}
		switch {
		case x.Wanted.Removed:
			batch.Dropped = append(batch.Dropped, x.Name)
		case x.Served.IsZero():
			batch.Added = append(batch.Added, x.Name)
		default:
			batch.Replaced = append(batch.Replaced, x.Name)
		}
	}
	if e := handlers.PlanCerts(serving, batch); e.Reload {
		p.out.Reasons = append(p.out.Reasons, e.Reason)
	}
	if p.here.view.active.Release > 0 && t.otherKind() {
		p.reload(PlanServers, kindText(p.here.view.active.TLS), kindText(t.kind()), fmt.Sprintf("%s (%d)", otherKind, len(after)))
	}
}

func planned(x handlers.NamePreview) PlannedChange {
	c := PlannedChange{Subject: PlanName, Name: x.Name, Effect: x.Effect, Reason: x.Reason}
	if !x.Served.IsZero() {
		c.From = x.Served.String()
		if x.Known.Bundle == x.Served {
			c.Until = x.Known.NotAfter
		}
	}
	if !x.Wanted.Removed {
		c.To, c.NewEnd = x.Wanted.Bundle.String(), x.Wanted.NotAfter
	}
	return c
}

// kindText says how servers come by certificates.
func kindText(s renderer.TLSServers) string {
	switch {
	case s.Mode == renderer.TLSNone:
		return "none"
	case s.Mode == renderer.TLSVariable && s.Cache:
		return fmt.Sprintf("%s, %s, cached", s.Mode, s.Names)
	case s.Mode == renderer.TLSVariable:
		return fmt.Sprintf("%s, %s", s.Mode, s.Names)
	}
	return string(s.Mode)
}

// outdated plans a release that a changed configuration of the agent asks for,
// or a crash between files and release, whatever is new in Consul.
func (p *planner) outdated(ctx context.Context) error {
	listed := maps.Clone(p.here.live)
	for _, s := range p.here.shards {
		for _, e := range s.Entries {
			if e.Removed {
				delete(listed, e.Name)
			}
		}
	}
	t := p.serving(listed)
	if t.otherKind() {
		return nil // told as the servers that change
	}
	reason, err := p.node.Outdated(t.servers(), p.challenges(ctx))
	if err != nil || reason == "" {
		return err
	}
	release := fmt.Sprintf("release %d", p.here.view.active.Release)
	p.reload(PlanServers, release, "a new release", reason)
	return nil
}

// challenges is what the node would answer challenges with: what Consul says,
// else what it answers already.
func (p *planner) challenges(ctx context.Context) renderer.Challenges {
	thumbprint := p.here.view.active.Challenges.Thumbprint
	switch rec, err := p.store.Answer(ctx); {
	case err == nil:
		thumbprint = rec.Answer.Thumbprint
	case errors.Is(err, store.ErrRecord):
		p.problem("answer-refused", fleet.Alarm, err.Error())
	}
	return challengesOf(p.cfg.ACME, thumbprint)
}

// imports plans an import, on top of what this node has to do before.
func (p *planner) imports(ctx context.Context, c *Console, o PlanOptions, pending []handlers.NameChange) ([]handlers.NameChange, error) {
	r, candidates, err := c.candidates(ctx, o.Found, o.ImportOptions, time.Now())
	p.out.Import = &r
	if err != nil {
		return nil, err
	}
	entries, bad, err := c.current(ctx, candidates)
	if err != nil {
		return nil, err
	}
	p.here.live = handlers.AfterChanges(p.base(), p.here.live, pending)
	var changes []handlers.NameChange
	before := map[string]fleet.Entry{}
	for _, x := range candidates {
		r.foresee(x, entries, bad, o.ImportOptions)
		for _, name := range x.names {
			was := entries[name]
			switch {
			case was.Removed || was.Name == "":
				r.Added++
			case was.Bundle == x.hash:
				r.Unchanged++
			default:
				before[name] = was
				r.Replaced++
			}
			wanted := x.certificate().Entry
			wanted.Name, wanted.Bundle = name, x.hash
			changes = append(changes, handlers.NameChange{Name: name, Served: p.here.live[name], Known: was, Wanted: p.here.ledger.aim(wanted)})
		}
	}
	r.conclude(candidates, before)
	return changes, nil
}

// foresee takes from a candidate the names that an import would not give it.
func (r *ImportResult) foresee(c *candidate, entries map[string]fleet.Entry, bad map[int]error, o ImportOptions) {
	kept := map[string]fleet.Entry{}
	now := c.certificate().Entry
	var names []string
	var cause error
	for _, name := range c.names {
		was := entries[name]
		switch err := bad[inventory.ShardOf(name)]; {
		case err != nil:
			names, cause = append(names, name), err
		case was.Name != "" && !was.Removed && was.Bundle != c.hash && o.keeps(was, now):
			kept[name] = was
		}
	}
	r.withhold(c, kept)
	if len(names) > 0 {
		c.drop(names)
		r.refuse(c.found.Path, fmt.Errorf("%w: %w", ErrNotWritten, cause), names...)
	}
}
