package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/status"
)

// domainsAPI is what the agent's socket does with domains: the same as the
// command line, but for one that is told of each name what became of it, so that
// one that cannot be used holds back no other.
type domainsAPI struct{ console *Console }

// DoDomains implements status.Domains.
func (a domainsAPI) DoDomains(ctx context.Context, do issuance.Verb, wishes []issuance.Wish, by string) ([]status.DomainResult, error) {
	if len(a.console.cfg.CAs) == 0 {
		return nil, fmt.Errorf("%w: give every host a ca block", status.ErrNoCA)
	}
	by += " on " + a.console.cfg.Node
	if do == issuance.Add {
		return a.console.offer(ctx, wishes, by)
	}
	names := make([]string, len(wishes))
	for i, w := range wishes {
		names[i] = w.Names[0]
	}
	return a.console.bid(ctx, do, names, by)
}

// offer is AddDomains with a result for each wish.
func (c *Console) offer(ctx context.Context, wishes []issuance.Wish, by string) ([]status.DomainResult, error) {
	results := make([]status.DomainResult, len(wishes))
	var taken []issuance.Wish
	var at []int // index of each
	refused, err := c.refusals(wishes)
	if err != nil {
		return nil, err
	}
	for i, w := range wishes {
		results[i].Names = w.Names
		if err := refused[i]; err != nil {
			results[i].Result, results[i].Error = status.FateRefused, err.Error()
			continue
		}
		if w.Names, err = storedNames(w.Names); err != nil {
			return nil, err
		}
		results[i].Names = w.Names
		taken, at = append(taken, w), append(at, i)
	}
	ids := make([]string, len(taken))
	for i, w := range taken {
		ids[i] = issuance.ID(w.Names)
	}
	before, err := c.store.HasItems(ctx, ids)
	if err != nil {
		return nil, err
	}
	if err := c.AddDomains(ctx, taken, by, nil); err != nil && !errors.Is(err, ErrTakenDomain) {
		return nil, err
	}
	after, err := c.store.HasItems(ctx, ids)
	if err != nil {
		return nil, err
	}
	for i, id := range ids {
		r := &results[at[i]]
		switch {
		case !after[id]:
			r.Result, r.Error = status.FateTaken, ErrTakenDomain.Error()
		case before[id]:
			r.Result = status.FateKnown
		default:
			r.Result = status.FateAdded
		}
	}
	return results, nil
}

// refusals says which wishes cannot be used, by index.
func (c *Console) refusals(wishes []issuance.Wish) (map[int]error, error) {
	bad := map[int]error{}
	_, err := usableWishes(wishes, chooser(c.cfg), profileNames(c.cfg))
	var refused *RefusedError
	if !errors.As(err, &refused) {
		return bad, err
	}
	for _, w := range refused.Wishes {
		bad[w.Index] = w.Err
	}
	return bad, nil
}

// bid has something done with the certificates of names, with a result for each
// name.
func (c *Console) bid(ctx context.Context, do issuance.Verb, names []string, by string) ([]status.DomainResult, error) {
	results := make([]status.DomainResult, len(names))
	stored := make([]string, len(names)) // empty: refused
	for i, name := range names {
		results[i].Names = []string{name}
		s, err := inventory.Normalize(name)
		if err != nil {
			results[i].Result, results[i].Error = status.FateRefused, err.Error()
			continue
		}
		stored[i] = s
	}
	of, err := c.findItems(ctx, slices.DeleteFunc(slices.Clone(stored), func(s string) bool { return s == "" }))
	if err != nil {
		return nil, err
	}
	asked := map[string]bool{}
	var ids []string
	var wishes []issuance.Wish
	for i, name := range stored {
		if name == "" {
			continue
		}
		it := of[name]
		if it == nil {
			results[i].Result = status.FateUnknown
			continue
		}
		results[i].Names, results[i].Result = it.Names, fateOf(do, it.State)
		if id := it.ID(); results[i].Result != status.FateAlone && !asked[id] {
			asked[id] = true
			ids, wishes = append(ids, id), append(wishes, issuance.Wish{Names: it.Names})
		}
	}
	if err := c.ask(ctx, do, wishes, by, nil); err != nil {
		return nil, err
	}
	if do != issuance.Remove && do != issuance.Forget {
		return results, nil
	}
	left, err := c.store.HasItems(ctx, ids)
	for i := range results {
		if results[i].Result == status.FateRemoved && left[issuance.ID(results[i].Names)] {
			results[i].Result, results[i].Error = status.FateFailed, "the leader could not: its log says why"
		}
	}
	return results, err
}

// fateOf is what a verb does to a certificate in a state.
func fateOf(do issuance.Verb, s issuance.State) status.Fate {
	switch {
	case do == issuance.Remove, do == issuance.Forget:
		return status.FateRemoved
	case do == issuance.Retry && (s == issuance.Waiting || s == issuance.Parked), do == issuance.Renew && s == issuance.Issued:
		return status.FateBegun
	default:
		return status.FateAlone
	}
}

// domainPage is one page of what is obtained.
type domainPage struct {
	Domains  []DomainStatus    `json:"domains"`
	Next     string            `json:"next,omitempty"` // ask for what is after it
	Requests int               `json:"requests"`       // that wait for a leader
	Refused  map[string]string `json:"refused,omitempty"`
}

// ListDomains implements status.Domains.
func (a domainsAPI) ListDomains(ctx context.Context, q status.DomainQuery) (any, error) {
	list, bad, err := a.console.Domains(ctx, DomainFilter{Match: q.Match, State: q.State, Group: q.Group}, false)
	if err != nil {
		return nil, err
	}
	from := 0
	if q.After != "" {
		from, _ = slices.BinarySearchFunc(list, q.After, func(d DomainStatus, after string) int {
			if d.Names[0] <= after {
				return -1
			}
			return 1
		})
	}
	p := domainPage{Domains: list[from:min(from+q.Limit, len(list))]}
	if from+q.Limit < len(list) {
		p.Next = p.Domains[len(p.Domains)-1].Names[0]
	}
	for id, err := range bad {
		if p.Refused == nil {
			p.Refused = map[string]string{}
		}
		p.Refused[id] = err.Error()
	}
	p.Requests, err = a.console.DomainRequests(ctx)
	return p, err
}

// ShowDomain implements status.Domains.
func (a domainsAPI) ShowDomain(ctx context.Context, name string) (any, error) {
	d, err := a.console.Domain(ctx, name)
	var refused *RefusedError
	switch {
	case errors.As(err, &refused):
		return nil, fmt.Errorf("%w: %w", status.ErrBadDomains, err)
	case errors.Is(err, ErrUnknownDomain):
		return nil, fmt.Errorf("%s: %w", strings.ToLower(name), status.ErrNoDomain)
	}
	return d, err
}
