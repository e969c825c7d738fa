package agent

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/importer"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// Why a certificate is not imported, or not for a name.
var (
	// ErrOlder means that the name is served by a certificate that ends later.
	ErrOlder = errors.New("the name has a certificate that ends later")
	// ErrNotWritten means that Consul did not take it.
	ErrNotWritten = errors.New("not written")
)

// ImportOptions say what an import takes besides certificates that browsers
// accept (bundle.Policy).
type ImportOptions struct {
	AllowExpired, AllowSelfSigned, AllowNoChain bool
	Force                                       bool // replace also certificates that end later
}

// ImportResult is what an import did.
type ImportResult struct {
	Epoch        uint64              `json:"epoch,omitempty"` // of the inventory
	Certificates int                 `json:"certificates"`    // that serve a name now because of this import
	Added        int                 `json:"added"`           // names
	Replaced     int                 `json:"replaced"`        // names
	Unchanged    int                 `json:"unchanged"`       // names that had this certificate
	Replacements []ImportReplacement `json:"replacements"`    // what Replaced counts, by name
	Surpassed    []ImportSurpassed   `json:"surpassed"`       // not needed, by path
	Refused      []ImportRefused     `json:"refused"`         // by path
}

// ImportReplacement is a name whose certificate was replaced.
type ImportReplacement struct {
	Before   CertificateStatus `json:"before"`
	Path     string            `json:"path"`
	NotAfter time.Time         `json:"not_after"`
	Bundle   fleet.Hash        `json:"bundle"`
}

// ImportSurpassed is a certificate that another one of the same import has
// taken names from, because it ends later.
type ImportSurpassed struct {
	Path  string   `json:"path"`
	Names []string `json:"names"`
	By    []string `json:"by"` // paths
}

// ImportRefused is a certificate that was not imported, or not for some names.
type ImportRefused struct {
	Path  string   `json:"path"`
	Names []string `json:"names,omitempty"` // that it does not serve; none if they are not known
	Err   error    `json:"-"`
	Why   string   `json:"error"`
}

func (r *ImportResult) refuse(path string, err error, names ...string) {
	r.Refused = append(r.Refused, ImportRefused{Path: path, Names: names, Err: err, Why: err.Error()})
}

// candidate is a certificate of an import that may be served.
type candidate struct {
	found importer.Found
	info  bundle.Info
	hash  fleet.Hash
	names []string // it is to serve
}

// before reports whether c loses a name that both have to o: it ends earlier,
// else begins earlier, else has the higher hash.
func (c *candidate) before(o *candidate) bool {
	return cmp.Or(c.info.NotAfter.Compare(o.info.NotAfter), c.info.NotBefore.Compare(o.info.NotBefore),
		bytes.Compare(o.hash[:], c.hash[:])) < 0
}

// Import puts certificates into the inventory, each for all names in it. One
// that must not be served (bundle.Check, inventory.Normalize) is refused, and
// all others go in. Of two certificates for one name the one that ends later
// gets it. A name of the inventory keeps a certificate that ends later
// (ErrOlder) unless forced; that is decided in the transaction, so that of two
// imports at the same moment the later certificate stays.
//
// progress, if not nil, is told how many of the names are done. The result says
// what was done, also with an error, which is for what ended the import: what
// was not written then is among the refused (ErrNotWritten).
func (c *Console) Import(ctx context.Context, found []importer.Found, o ImportOptions, progress func(done, total int)) (ImportResult, error) {
	now := time.Now()
	r, candidates, err := c.candidates(ctx, found, o, now)
	if err != nil {
		return r, err
	}
	before, kept := map[string]fleet.Entry{}, map[string]fleet.Entry{}
	edit := store.Edit{Now: now, Keep: o.keeps, Settled: func(was, _ fleet.Entry, stays bool) {
		if stays {
			kept[was.Name] = was
		} else {
			before[was.Name] = was
		}
	}}
	for _, x := range candidates {
		if len(x.names) > 0 {
			edit.Put = append(edit.Put, x.certificate())
		}
	}
	done, err := c.store.EditInventory(ctx, edit, "", progress)
	for _, x := range candidates {
		r.withhold(x, kept)
	}
	if err != nil {
		err = errors.Join(err, c.unwritten(ctx, candidates, &r))
	}
	r.Epoch, r.Added, r.Replaced, r.Unchanged = done.Epoch, done.Added, done.Replaced, done.Unchanged
	r.conclude(candidates, before)
	return r, err
}

// candidates are the certificates that may be served, each with the names that
// no other of them has a better claim to.
func (c *Console) candidates(ctx context.Context, found []importer.Found, o ImportOptions, now time.Time) (ImportResult, []*candidate, error) {
	r := ImportResult{Replacements: []ImportReplacement{}, Surpassed: []ImportSurpassed{}, Refused: []ImportRefused{}}
	if err := c.checkMeta(ctx); err != nil {
		return r, nil, err
	}
	candidates, err := r.check(ctx, found, o, now)
	if err != nil {
		return r, nil, err
	}
	r.settle(candidates)
	return r, candidates, nil
}

// keeps reports whether a name keeps the certificate it has.
func (o ImportOptions) keeps(was, now fleet.Entry) bool {
	return !o.Force && was.NotAfter.After(now.NotAfter)
}

// check makes candidates of what may be served.
func (r *ImportResult) check(ctx context.Context, found []importer.Found, o ImportOptions, now time.Time) ([]*candidate, error) {
	policy := bundle.Policy{Now: now, AllowExpired: o.AllowExpired, AllowSelfSigned: o.AllowSelfSigned, AllowNoChain: o.AllowNoChain}
	var candidates []*candidate
	for _, f := range found {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		info, err := bundle.Check(f.Bundle, policy)
		if err != nil {
			r.refuse(f.Path, err)
			continue
		}
		names, err := storedNames(info.Names)
		if err != nil {
			r.refuse(f.Path, fmt.Errorf("%w: %w", bundle.ErrNames, err))
			continue
		}
		candidates = append(candidates, &candidate{found: f, info: info, hash: bundle.Hash(f.Bundle), names: names})
	}
	return candidates, nil
}

// storedNames are the names of a certificate as the inventory has them.
func storedNames(names []string) ([]string, error) {
	var stored []string
	for _, name := range names {
		s, err := inventory.Normalize(name)
		if err != nil {
			return nil, err
		}
		stored = append(stored, s)
	}
	slices.Sort(stored)
	return slices.Compact(stored), nil
}

// settle gives each name to one of the candidates.
func (r *ImportResult) settle(candidates []*candidate) {
	owner := map[string]*candidate{}
	for _, c := range candidates {
		for _, name := range c.names {
			if o := owner[name]; o == nil || o.before(c) {
				owner[name] = c
			}
		}
	}
	for _, c := range candidates {
		lost := ImportSurpassed{Path: c.found.Path}
		c.names = slices.DeleteFunc(c.names, func(name string) bool {
			o := owner[name]
			if o == c || o.hash == c.hash {
				return false
			}
			lost.Names = append(lost.Names, name)
			if !slices.Contains(lost.By, o.found.Path) {
				lost.By = append(lost.By, o.found.Path)
			}
			return true
		})
		if len(lost.Names) > 0 {
			r.Surpassed = append(r.Surpassed, lost)
		}
	}
}

// current is what the inventory has for the candidates' names, and which shards
// cannot be read.
func (c *Console) current(ctx context.Context, candidates []*candidate) (map[string]fleet.Entry, map[int]error, error) {
	var names []string
	for _, x := range candidates {
		names = append(names, x.names...)
	}
	return c.lookup(ctx, names)
}

// withhold takes from a candidate the names that keep what they have.
func (r *ImportResult) withhold(c *candidate, kept map[string]fleet.Entry) {
	var names []string
	var until time.Time
	c.names = slices.DeleteFunc(c.names, func(name string) bool {
		was, keeps := kept[name]
		if keeps {
			names, until = append(names, name), was.NotAfter
		}
		return keeps
	})
	if len(names) > 0 {
		r.refuse(c.found.Path, fmt.Errorf("%w: at %s, this one at %s", ErrOlder, day(until), day(c.info.NotAfter)), names...)
	}
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// drop takes names from those it is to serve.
func (c *candidate) drop(names []string) {
	c.names = slices.DeleteFunc(c.names, func(name string) bool { return slices.Contains(names, name) })
}

func (c *candidate) certificate() store.Certificate {
	return store.Certificate{
		Bundle: c.found.Bundle, Names: c.names,
		Entry: fleet.Entry{NotAfter: c.info.NotAfter, Source: fleet.SourceImport, Issuer: c.info.Issuer},
	}
}

// unwritten takes from the candidates the names that an edit with an error has
// not got into the inventory, and refuses them. If that cannot be looked up, it
// takes all.
func (c *Console) unwritten(ctx context.Context, candidates []*candidate, r *ImportResult) error {
	entries, _, err := c.current(context.WithoutCancel(ctx), candidates)
	for _, x := range candidates {
		var lost []string
		x.names = slices.DeleteFunc(x.names, func(name string) bool {
			if e := entries[name]; !e.Removed && e.Bundle == x.hash {
				return false
			}
			lost = append(lost, name)
			return true
		})
		if len(lost) > 0 {
			r.refuse(x.found.Path, ErrNotWritten, lost...)
		}
	}
	return err
}

// conclude lists what is in the inventory now.
func (r *ImportResult) conclude(candidates []*candidate, before map[string]fleet.Entry) {
	for _, c := range candidates {
		if len(c.names) > 0 {
			r.Certificates++
		}
		for _, name := range c.names {
			if was, replaced := before[name]; replaced {
				r.Replacements = append(r.Replacements, ImportReplacement{statusOf(was), c.found.Path, c.info.NotAfter.UTC(), c.hash})
			}
		}
	}
	slices.SortFunc(r.Replacements, func(a, b ImportReplacement) int { return cmp.Compare(a.Before.Name, b.Before.Name) })
}
