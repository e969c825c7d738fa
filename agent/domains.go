package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

// Errors of operations on domains.
var (
	// ErrUnknownDomain means that no certificate is obtained for a name.
	ErrUnknownDomain = errors.New("no certificate is obtained for this name")
	// ErrTakenDomain means that a name belongs to another certificate already.
	ErrTakenDomain = errors.New("the name belongs to another certificate")
	// ErrNoLeader means that nobody took a request in time.
	ErrNoLeader = errors.New("no leader took the request")
)

// DomainStatus is one certificate that the leader obtains.
type DomainStatus struct {
	Names    []string       `json:"names"`
	State    issuance.State `json:"state"`
	Since    time.Time      `json:"since"` // in this state
	Group    string         `json:"group"`
	Profile  string         `json:"profile,omitempty"`
	Added    time.Time      `json:"added"`
	Next     time.Time      `json:"next,omitzero"` // next try, or the renewal
	Forecast time.Time      `json:"forecast,omitzero"`
	NotAfter time.Time      `json:"not_after,omitzero"`
	CA       string         `json:"ca,omitempty"`
	Failures int            `json:"failures,omitempty"` // in a row
	Failure  *DomainFailure `json:"failure,omitempty"`  // the last one
	Order    *DomainOrder   `json:"order,omitempty"`    // under way
	Window   *DomainWindow  `json:"window,omitempty"`   // for the renewal, as the CA suggests
}

// DomainOrder is an order that a CA works on.
type DomainOrder struct {
	CA    string    `json:"ca"`
	URL   string    `json:"url,omitempty"` // empty: perhaps not yet placed
	Begun time.Time `json:"begun"`
}

// DomainWindow is when a CA wants a certificate renewed (RFC 9773).
type DomainWindow struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
	Check time.Time `json:"check"` // asked again then
}

// DomainFailure is why the last attempt failed.
type DomainFailure struct {
	Class  issuance.Class `json:"class"`
	Stage  issuance.Stage `json:"stage"`
	CA     string         `json:"ca,omitempty"`
	Type   string         `json:"type,omitempty"`
	Status int            `json:"status,omitempty"`
	Detail string         `json:"detail"`
	At     time.Time      `json:"at"`
}

// DomainFilter chooses certificates; its zero value chooses all.
type DomainFilter struct {
	Match string // a part of one of the names
	State issuance.State
	Group string
}

func (f DomainFilter) takes(it issuance.Item) bool {
	if f.State != "" && it.State != f.State || f.Group != "" && it.Group != f.Group {
		return false
	}
	return slices.ContainsFunc(it.Names, func(name string) bool { return strings.Contains(name, strings.ToLower(f.Match)) })
}

// Domains lists what the leader obtains, by the first name; what no leader has
// taken in yet is not in it. bad are the records that cannot be read, by ID.
// With forecast it also says when each that waits for a first certificate will
// have it if all goes well, under the limits of the CA.
func (c *Console) Domains(ctx context.Context, f DomainFilter, forecast bool) (list []DomainStatus, bad map[string]error, err error) {
	planner, err := c.ledger(ctx, forecast)
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	var items []issuance.Item
	bad, err = c.store.Items(ctx, func(it issuance.Item) {
		if forecast {
			planner.Set(it, now)
		}
		if f.takes(it) {
			items = append(items, it)
		}
	})
	if err != nil {
		return nil, bad, err
	}
	var when map[string]time.Time
	if forecast {
		when = planner.Forecast(now)
	}
	list = make([]DomainStatus, 0, len(items))
	for _, it := range items {
		d := domainStatus(it)
		d.Forecast = when[it.ID()]
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b DomainStatus) int { return cmp.Compare(a.Names[0], b.Names[0]) })
	return list, bad, nil
}

// ledger is a planner with what is used of the first CA's limits.
func (c *Console) ledger(ctx context.Context, wanted bool) (*issuance.Planner, error) {
	if !wanted || len(c.cfg.CAs) == 0 {
		return issuance.NewPlanner(issuance.NewLedger(issuance.Limits{}, nil)), nil
	}
	ca := c.cfg.CAs[0]
	used, err := c.store.Used(ctx, ca.Name)
	if err != nil {
		return nil, err
	}
	return issuance.NewPlanner(issuance.NewLedger(limits(ca), issuance.UsedNow(used, time.Now()))), nil
}

func domainStatus(it issuance.Item) DomainStatus {
	d := DomainStatus{
		Names: it.Names, State: it.State, Since: it.Changed, Group: it.Group, Profile: it.Profile, Added: it.Added,
		Next: it.Next, Failures: it.Failed.Count,
	}
	if it.Cert != nil {
		d.NotAfter, d.CA = it.Cert.NotAfter, it.Cert.CA
		if w := it.Cert.Window; w != nil {
			d.Window = &DomainWindow{w.Start, w.End, w.Check}
		}
	}
	if o := it.Order; o != nil {
		d.Order = &DomainOrder{o.CA, o.URL, o.Begun}
	}
	if f := it.Failed.Last; f != nil {
		d.Failure = &DomainFailure{f.Class, f.Stage, f.CA, f.Type, f.Status, f.Detail, f.At}
	}
	return d
}

// Domain is what is known about the certificate of a name.
func (c *Console) Domain(ctx context.Context, name string) (DomainStatus, error) {
	list, err := c.DomainsOf(ctx, []string{name})
	if err != nil {
		return DomainStatus{}, err
	}
	return list[0], nil
}

// DomainsOf is what is known about the certificates of names, each certificate
// once, in the order of the names. *RefusedError for names that are none,
// ErrUnknownDomain if one belongs to no certificate.
func (c *Console) DomainsOf(ctx context.Context, names []string) ([]DomainStatus, error) {
	items, err := c.itemsOf(ctx, names)
	if err != nil {
		return nil, err
	}
	list := make([]DomainStatus, len(items))
	for i, it := range items {
		list[i] = domainStatus(it)
	}
	return list, nil
}

// itemsOf finds the items of names.
func (c *Console) itemsOf(ctx context.Context, names []string) ([]issuance.Item, error) {
	stored, err := normalNames(names)
	if err != nil {
		return nil, err
	}
	of, err := c.findItems(ctx, stored)
	if err != nil {
		return nil, err
	}
	if left := missingOf(of); len(left) > 0 {
		return nil, fmt.Errorf("%s: %w", fewNames(left), ErrUnknownDomain)
	}
	var items []issuance.Item
	seen := map[string]bool{}
	for _, name := range stored {
		if it := of[name]; !seen[it.ID()] {
			seen[it.ID()] = true
			items = append(items, *it)
		}
	}
	return items, nil
}

// findItems finds the item of each name in stored form; nil for a name that has
// none. It reads the whole journal only for names that have no item of their own.
func (c *Console) findItems(ctx context.Context, stored []string) (map[string]*issuance.Item, error) {
	ids := make([]string, len(stored))
	of := map[string]*issuance.Item{} // by each name that is asked for
	for i, name := range stored {
		ids[i], of[name] = issuance.ID([]string{name}), nil
	}
	found := func(it issuance.Item) {
		for _, name := range it.Names {
			if before, asked := of[name]; asked && before == nil {
				of[name] = &it
			}
		}
	}
	bad, err := c.store.ItemsOf(ctx, ids, found)
	if err != nil {
		return nil, err
	}
	for _, err := range bad {
		return nil, err
	}
	if len(missingOf(of)) > 0 {
		if _, err := c.store.Items(ctx, found); err != nil {
			return nil, err
		}
	}
	return of, nil
}

func missingOf(of map[string]*issuance.Item) []string {
	var names []string
	for name, it := range of {
		if it == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// fewNames names the first few.
func fewNames(names []string) string {
	const few = 5
	if len(names) <= few {
		return strings.Join(names, " ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], " "), len(names)-few)
}

// DomainRequests counts the requests that no leader has taken yet.
func (c *Console) DomainRequests(ctx context.Context) (int, error) {
	ids, err := c.store.RequestIDs(ctx)
	return len(ids), err
}
