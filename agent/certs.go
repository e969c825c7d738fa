package agent

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// Errors of operations on certificates.
var (
	// ErrUnknownCertificate means that no certificate is kept for a name.
	ErrUnknownCertificate = errors.New("no certificate for this name")
	// ErrPartial means that a part of the inventory cannot be read.
	ErrPartial = errors.New("a part of the inventory cannot be read")
	// ErrNoInventory means that there is no inventory, or none that the Consul
	// token may read.
	ErrNoInventory = errors.New("the fleet has no certificates yet")
)

// CertificateStatus is one name of the inventory.
type CertificateStatus struct {
	Name     string       `json:"name"`
	NotAfter time.Time    `json:"not_after"`
	Source   fleet.Source `json:"source"`
	Issuer   string       `json:"issuer"`
	Bundle   fleet.Hash   `json:"bundle"`
	Changed  time.Time    `json:"changed"` // when the name got this certificate
}

func statusOf(e fleet.Entry) CertificateStatus {
	return CertificateStatus{e.Name, e.NotAfter, e.Source, e.Issuer, e.Bundle, e.Changed}
}

// CertificateFilter chooses names; its zero value chooses all of them.
type CertificateFilter struct {
	// Match is a pattern as of path.Match for the whole name if it has one of
	// *?[, else a part of the name.
	Match string
	// Until chooses certificates that end at this time or before; zero: all.
	Until  time.Time
	Source fleet.Source
}

// Check refuses a pattern that cannot be used.
func (f CertificateFilter) Check() error {
	if _, err := path.Match(strings.ToLower(f.Match), ""); f.glob() && err != nil {
		return fmt.Errorf("filter %q: %w", f.Match, err)
	}
	return nil
}

func (f CertificateFilter) glob() bool { return strings.ContainsAny(f.Match, "*?[") }

func (f CertificateFilter) takes(e fleet.Entry) bool {
	if e.Removed || f.Source != "" && e.Source != f.Source || !f.Until.IsZero() && e.NotAfter.After(f.Until) {
		return false
	}
	pattern := strings.ToLower(f.Match)
	if f.glob() {
		matched, err := path.Match(pattern, e.Name)
		return err == nil && matched
	}
	return strings.Contains(e.Name, pattern)
}

// Certificates lists the names that the filter chooses, sorted. The list is
// what could be read, also when the error is ErrPartial; ErrNoInventory if
// there is nothing to read.
func (c *Console) Certificates(ctx context.Context, f CertificateFilter) ([]CertificateStatus, error) {
	if err := f.Check(); err != nil {
		return nil, err
	}
	if err := c.checkMeta(ctx); err != nil {
		return nil, err
	}
	head, err := c.store.Head(ctx)
	if err != nil {
		return nil, noInventory(err)
	}
	entries, bad, err := c.entries(ctx, head.Head, inventory.Changed(inventory.Head{}, head.Head))
	if err != nil {
		return nil, err
	}
	list := []CertificateStatus{}
	for _, e := range entries {
		if f.takes(e) {
			list = append(list, statusOf(e))
		}
	}
	slices.SortFunc(list, func(a, b CertificateStatus) int { return strings.Compare(a.Name, b.Name) })
	return list, partial(bad)
}

// checkMeta refuses what a newer tlsfleet has written. A fleet without a
// leader so far has no such record.
func (c *Console) checkMeta(ctx context.Context) error {
	if err := c.store.CheckMeta(ctx); err != nil && !errors.Is(err, store.ErrMissing) {
		return err
	}
	return nil
}

// entries reads shards, tombstones too, and says which cannot be read.
func (c *Console) entries(ctx context.Context, head inventory.Head, shards []int) ([]fleet.Entry, map[int]error, error) {
	records, bad, err := c.store.Shards(ctx, shards)
	if err != nil {
		return nil, nil, err
	}
	var entries []fleet.Entry
	for _, r := range records {
		if want := head.Shards[r.Shard.Number]; r.Shard.Epoch < want {
			bad[r.Shard.Number] = fmt.Errorf("shard %d: %w: it is at epoch %d, the head says %d", r.Shard.Number, store.ErrRecord, r.Shard.Epoch, want)
			continue
		}
		entries = append(entries, r.Shard.Entries...)
	}
	return entries, bad, nil
}

// lookup finds the entries of names in stored form, tombstones too. A fleet
// without an inventory has none of them.
func (c *Console) lookup(ctx context.Context, names []string) (map[string]fleet.Entry, map[int]error, error) {
	head, err := c.store.Head(ctx)
	if errors.Is(err, store.ErrMissing) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	wanted := make(map[string]bool, len(names))
	shards := map[int]bool{}
	for _, name := range names {
		wanted[name] = true
		if n := inventory.ShardOf(name); head.Head.Shards[n] > 0 {
			shards[n] = true
		}
	}
	all, bad, err := c.entries(ctx, head.Head, slices.Sorted(maps.Keys(shards)))
	if err != nil {
		return nil, nil, err
	}
	entries := make(map[string]fleet.Entry, len(names))
	for _, e := range all {
		if wanted[e.Name] {
			entries[e.Name] = e
		}
	}
	return entries, bad, nil
}

// partial tells the first of the shards that cannot be read, and how many.
func partial(bad map[int]error) error {
	if len(bad) == 0 {
		return nil
	}
	first := slices.Min(slices.Collect(maps.Keys(bad)))
	return fmt.Errorf("%w: %d of %d shards, the first: %w", ErrPartial, len(bad), inventory.Shards, bad[first])
}

func noInventory(err error) error {
	if errors.Is(err, store.ErrMissing) {
		return fmt.Errorf("%w: %w", ErrNoInventory, err)
	}
	return err
}

// CertificateDetail is what `tlsfleet cert show` shows. It never holds a key.
type CertificateDetail struct {
	CertificateStatus
	Asked     string            `json:"asked"` // the name asked for, in stored form; Name may be its wildcard
	Names     []string          `json:"names"` // in the certificate
	NotBefore time.Time         `json:"not_before"`
	Serial    string            `json:"serial"` // hexadecimal
	KeyKind   string            `json:"key_kind"`
	Chain     []ChainCertStatus `json:"chain"`             // the issuer of the leaf first
	Problem   string            `json:"problem,omitempty"` // why it could not be imported as it is now
}

// ChainCertStatus is one certificate of a chain.
type ChainCertStatus struct {
	Subject  string    `json:"subject"`
	Issuer   string    `json:"issuer"`
	NotAfter time.Time `json:"not_after"`
}

// Certificate shows the certificate that serves a name: its own, else that of
// its wildcard. ErrUnknownCertificate if there is none; fleet.ErrDomain if it
// is no name.
func (c *Console) Certificate(ctx context.Context, name string) (CertificateDetail, error) {
	d, _, err := c.certificate(ctx, name)
	return d, err
}

func (c *Console) certificate(ctx context.Context, name string) (CertificateDetail, bundle.Bundle, error) {
	stored, err := inventory.Normalize(name)
	if err != nil {
		return CertificateDetail{}, bundle.Bundle{}, err
	}
	if err := c.checkMeta(ctx); err != nil {
		return CertificateDetail{}, bundle.Bundle{}, err
	}
	e, err := c.serving(ctx, stored)
	if err != nil {
		return CertificateDetail{}, bundle.Bundle{}, err
	}
	b, err := c.store.Bundle(ctx, e.Bundle)
	if err != nil {
		return CertificateDetail{}, bundle.Bundle{}, fmt.Errorf("certificate of %s: %w", e.Name, err)
	}
	d, err := detail(b, time.Now())
	if err != nil {
		return CertificateDetail{}, bundle.Bundle{}, fmt.Errorf("certificate of %s: %w", e.Name, err)
	}
	d.CertificateStatus, d.Asked = statusOf(e), stored
	return d, b, nil
}

// serving is the entry of a name or of its wildcard.
func (c *Console) serving(ctx context.Context, name string) (fleet.Entry, error) {
	names := []string{name}
	if _, parent, found := strings.Cut(name, "."); found && !strings.HasPrefix(name, fleet.Wildcard) {
		names = append(names, fleet.Wildcard+parent)
	}
	entries, bad, err := c.lookup(ctx, names)
	if err != nil {
		return fleet.Entry{}, err
	}
	match, found := inventory.Match(name, func(n string) bool {
		e, ok := entries[n]
		return ok && !e.Removed
	})
	switch {
	case bad[inventory.ShardOf(name)] != nil || !found && len(bad) > 0:
		return fleet.Entry{}, partial(bad)
	case !found:
		return fleet.Entry{}, fmt.Errorf("%s: %w", name, ErrUnknownCertificate)
	}
	return entries[match], nil
}

// detail reads a certificate, whether it may be served now or not.
func detail(b bundle.Bundle, now time.Time) (CertificateDetail, error) {
	d := CertificateDetail{Chain: []ChainCertStatus{}}
	leaf, err := x509.ParseCertificate(b.Leaf)
	if err != nil {
		return d, fmt.Errorf("read leaf: %w", err)
	}
	d.Names, d.NotBefore, d.Serial, d.KeyKind = leaf.DNSNames, leaf.NotBefore.UTC(), fmt.Sprintf("%x", leaf.SerialNumber), leaf.PublicKeyAlgorithm.String()
	if _, err := bundle.Check(b, bundle.Policy{Now: now}); err != nil {
		d.Problem = err.Error()
	}
	lenient := bundle.Policy{Now: now, AllowExpired: true, AllowNoChain: true, AllowSelfSigned: true, MinRSABits: 1}
	if info, err := bundle.Check(b, lenient); err == nil {
		d.Names, d.KeyKind = info.Names, info.KeyKind
	}
	for _, der := range b.Chain {
		x, err := x509.ParseCertificate(der)
		if err != nil {
			return d, fmt.Errorf("read chain: %w", err)
		}
		d.Chain = append(d.Chain, ChainCertStatus{shown(x.Subject.String()), shown(x.Issuer.String()), x.NotAfter.UTC()})
	}
	return d, nil
}
