package agent

import (
	"sort"
	"sync"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// problems is what is wrong on this node now, by code. Since survives for as
// long as a problem with the same code lasts.
type problems struct {
	mu      sync.Mutex
	byOwner map[string]map[string]fleet.Problem
	changed func()
}

func newProblems(changed func()) *problems {
	return &problems{byOwner: map[string]map[string]fleet.Problem{}, changed: changed}
}

// replace makes list the only problems of this owner.
func (p *problems) replace(owner string, list ...fleet.Problem) {
	p.mu.Lock()
	before := p.byOwner[owner]
	after := make(map[string]fleet.Problem, len(list))
	same := len(before) == len(list)
	for _, x := range list {
		old, had := before[x.Code]
		switch {
		case had:
			x.Since = old.Since
		case x.Since.IsZero():
			x.Since = time.Now().UTC().Truncate(time.Second)
		}
		same = same && had && old == x
		after[x.Code] = x
	}
	p.byOwner[owner] = after
	p.mu.Unlock()
	if !same {
		p.changed()
	}
}

// list is every problem, alarms first, then by code.
func (p *problems) list() []fleet.Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []fleet.Problem
	for _, owned := range p.byOwner {
		for _, x := range owned {
			out = append(out, x)
		}
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].Severity != out[j].Severity {
			return out[i].Severity == fleet.Alarm
		}
		return out[i].Code < out[j].Code
	})
	return out
}
