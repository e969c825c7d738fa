package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/probe"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// How certificates are looked for in handshakes.
const (
	proofs        = 8                      // handshakes at a time
	proofPatience = 4 * time.Second        // old workers answer for a moment after a reload
	proofEvery    = 200 * time.Millisecond // while it lasts
	proofAgain    = 15 * time.Second       // what could not be seen
)

// verdict is how a trial ended.
type verdict int

// The verdicts.
const (
	servedNow verdict = iota // seen, or nginx does not serve the name
	unseen                   // nobody can tell: nginx does not answer, or not even for others
	alone                    // fails, and there is no other name to compare with
	guilty                   // fails where others are served
)

// finding is what was found out about a bundle of a name.
type finding struct {
	bundle  fleet.Hash
	verdict verdict
	why     string
}

// certProver looks at the certificates on trial from outside. It decides
// nothing about them: certFollower does.
type certProver struct {
	log      hclog.Logger
	renderer *renderer.Renderer
	prober   *probe.Prober
	served   *served
	wake     wake // there is something to look at
	told     wake // there are findings

	mu       sync.Mutex
	trials   map[string]certTrial
	released time.Time // when the newest release in place was begun
	found    map[string]finding
	later    map[string]time.Time // when to look again
}

// set gives the trials to look at. What was found out about another bundle of a
// name puts no look at this one off.
func (p *certProver) set(trials map[string]certTrial) {
	p.mu.Lock()
	maps.DeleteFunc(p.later, func(name string, _ time.Time) bool {
		t, on := trials[name]
		return !on || t.Bundle != p.trials[name].Bundle
	})
	p.trials = maps.Clone(trials)
	p.mu.Unlock()
	p.wake.give()
}

// release notes that nginx has taken a release that was begun at this time,
// with everything that was live then.
func (p *certProver) release(began time.Time) {
	p.mu.Lock()
	p.released = began
	clear(p.later)
	p.mu.Unlock()
	p.wake.give()
}

// take gives what was found since the last take.
func (p *certProver) take() map[string]finding {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := p.found
	p.found = map[string]finding{}
	return found
}

// Run looks until ctx ends.
func (p *certProver) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		case <-time.After(fleet.UntilBeat(proofAgain)):
		}
		due := p.due(time.Now())
		if len(due) == 0 {
			continue
		}
		if found := p.look(ctx, due); ctx.Err() == nil {
			p.tell(found)
		}
	}
}

// due are the trials that can be judged now.
func (p *certProver) due(now time.Time) map[string]certTrial {
	p.mu.Lock()
	defer p.mu.Unlock()
	due := map[string]certTrial{}
	for name, t := range p.trials {
		if (!t.Reload || t.At.Before(p.released)) && !now.Before(p.later[name]) {
			due[name] = t
		}
	}
	return due
}

func (p *certProver) tell(found map[string]finding) {
	p.mu.Lock()
	for name, f := range found {
		p.found[name] = f
		p.later[name] = time.Now().Add(proofAgain / 2)
		if p.trials[name].Bundle != f.bundle {
			delete(p.later, name) // another one came meanwhile
		}
	}
	p.mu.Unlock()
	p.told.give()
}

// look makes handshakes until each certificate was seen or patience ends.
func (p *certProver) look(ctx context.Context, due map[string]certTrial) map[string]finding {
	began := time.Now()
	found := map[string]finding{}
	left := maps.Clone(due)
	var faults map[string]fault
	for {
		places, err := p.renderer.Places()
		if err != nil {
			for name, t := range left {
				found[name] = finding{t.Bundle, unseen, err.Error()}
			}
			return found
		}
		faults = p.round(ctx, places, left)
		for name, t := range left {
			if _, bad := faults[name]; !bad {
				found[name] = finding{bundle: t.Bundle, verdict: servedNow}
				delete(left, name)
			}
		}
		if len(left) == 0 || time.Since(began) >= proofPatience || ctx.Err() != nil {
			p.log.Debug("certificates looked for", "seen", len(found), "left", len(left), "took", time.Since(began).Round(time.Millisecond))
			p.judge(ctx, places, left, faults, found)
			return found
		}
		select {
		case <-ctx.Done():
		case <-time.After(proofEvery):
		}
	}
}

// fault is a handshake that did not show what it should.
type fault struct {
	listener fleet.Listener
	err      error
}

// round is one handshake for each name on each socket that serves it.
func (p *certProver) round(ctx context.Context, places renderer.Places, trials map[string]certTrial) map[string]fault {
	faults := map[string]fault{}
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(proofs)
	for name, t := range trials {
		for _, l := range places.Ask(name, p.sni(name)) {
			g.Go(func() error {
				if err := p.sees(ctx, l, t.Bundle); err != nil {
					mu.Lock()
					faults[name] = fault{l, err}
					mu.Unlock()
				}
				return nil
			})
		}
	}
	if err := g.Wait(); err != nil {
		p.log.Error("certificates not looked for", "err", err)
	}
	return faults
}

// errOtherLeaf means that a listener shows another certificate than that of
// the bundle that is live.
var errOtherLeaf = errors.New("another certificate is served")

// sees is nil if a listener shows the leaf of a bundle.
func (p *certProver) sees(ctx context.Context, l fleet.Listener, hash fleet.Hash) error {
	want, err := p.renderer.Leaf(hash)
	if err != nil {
		return fmt.Errorf("%w: %w", probe.ErrNoAnswer, err)
	}
	got, err := p.prober.Leaf(ctx, l)
	if err == nil && !bytes.Equal(got, want) {
		err = errOtherLeaf
	}
	return err
}

// sni is a host name to ask for: of a wildcard one that no name of its own
// covers.
func (p *certProver) sni(name string) string {
	base, ok := strings.CutPrefix(name, fleet.Wildcard)
	if !ok {
		return name
	}
	host := "tlsfleet-probe." + base
	for i := 2; ; i++ {
		if _, taken := p.served.bundle(host); !taken {
			return host
		}
		host = fmt.Sprintf("tlsfleet-probe%d.%s", i, base)
	}
}
