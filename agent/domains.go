package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/inventory"
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
	Group    string         `json:"group"`
	Profile  string         `json:"profile,omitempty"`
	Added    time.Time      `json:"added"`
	Next     time.Time      `json:"next,omitzero"` // next try, or the renewal
	Forecast time.Time      `json:"forecast,omitzero"`
	NotAfter time.Time      `json:"not_after,omitzero"`
	CA       string         `json:"ca,omitempty"`
	Failures int            `json:"failures,omitempty"` // in a row
	Failure  *DomainFailure `json:"failure,omitempty"`  // the last one
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
	rules, err := issuing(c.cfg)
	if err != nil {
		return nil, err
	}
	ca := rules.cas[0]
	used, err := c.store.Used(ctx, ca.Name)
	if err != nil {
		return nil, err
	}
	return issuance.NewPlanner(issuance.NewLedger(ca.Limits, used)), nil
}

func domainStatus(it issuance.Item) DomainStatus {
	d := DomainStatus{
		Names: it.Names, State: it.State, Group: it.Group, Profile: it.Profile, Added: it.Added,
		Next: it.Next, Failures: it.Failed.Count,
	}
	if it.Cert != nil {
		d.NotAfter, d.CA = it.Cert.NotAfter, it.Cert.CA
	}
	if f := it.Failed.Last; f != nil {
		d.Failure = &DomainFailure{f.Class, f.Stage, f.CA, f.Type, f.Status, f.Detail, f.At}
	}
	return d
}

// Domain is what is known about the certificate of a name.
func (c *Console) Domain(ctx context.Context, name string) (DomainStatus, error) {
	stored, err := inventory.Normalize(name)
	if err != nil {
		return DomainStatus{}, err
	}
	if it, err := c.store.Item(ctx, issuance.ID([]string{stored})); err == nil {
		return domainStatus(it), nil
	}
	list, _, err := c.Domains(ctx, DomainFilter{Match: stored}, false)
	if err != nil {
		return DomainStatus{}, err
	}
	for _, d := range list {
		if slices.Contains(d.Names, stored) {
			return d, nil
		}
	}
	return DomainStatus{}, fmt.Errorf("show %s: %w", stored, ErrUnknownDomain)
}
