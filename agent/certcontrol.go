package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/probe"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// How many other names a fault is compared with.
const (
	controls   = 8
	candidates = 64 // of which some may be served elsewhere
)

// judge decides who is to blame for the faults: a bundle only where nginx
// answers, and serves another name on the same socket as it should.
func (p *certProver) judge(ctx context.Context, places renderer.Places, left map[string]certTrial, faults map[string]fault, found map[string]finding) {
	well := map[string]verdict{} // of sockets: guilty if something else is served there
	for name, t := range left {
		f, bad := faults[name]
		if !bad {
			continue // ctx has ended
		}
		if errors.Is(f.err, probe.ErrNoAnswer) {
			found[name] = finding{t.Bundle, unseen, f.err.Error()}
			continue
		}
		v, known := well[f.listener.Address]
		if !known {
			v = p.compare(ctx, places, f.listener, found)
			well[f.listener.Address] = v
		}
		found[name] = finding{t.Bundle, v, fmt.Sprintf("listen %s: %v", f.listener.Listen, f.err)}
	}
}

// compare looks at names of the socket that are known to be well: guilty if one is
// served, alone if there is none, unseen if all fail.
func (p *certProver) compare(ctx context.Context, places renderer.Places, at fleet.Listener, found map[string]finding) verdict {
	p.mu.Lock()
	trials := p.trials // replaced as a whole
	p.mu.Unlock()
	unsure := func(name string) bool {
		_, on := trials[name]
		f, seen := found[name]
		return on && (!seen || f.verdict != servedNow)
	}
	asked := 0
	for name, hash := range p.served.few(candidates, unsure) {
		for _, l := range places.Ask(name, p.sni(name)) {
			if l.Network != at.Network || l.Address != at.Address {
				continue
			}
			if p.sees(ctx, l, hash) == nil {
				return guilty
			}
			asked++
		}
		if asked >= controls {
			break
		}
	}
	if asked == 0 {
		return alone
	}
	return unseen
}
