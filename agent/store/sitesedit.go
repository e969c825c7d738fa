package store

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/consul"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/site"
)

// SiteEdit is a change of sites. No site may be put and removed.
type SiteEdit struct {
	Put    []site.Site // usable by site.Validate, each ID once
	Remove []string    // IDs; those that are not there stay so
	// Check, if not nil, is asked before anything is written, with all sites as
	// they will be, sorted by ID, but for those that cannot be read. It may be
	// asked again.
	Check func(after []site.Site) error
	Now   bool     // on every node at once, without a wave
	Again []string // IDs of Put that are written at a new epoch even if they are there just so
}

// SitesEdited says what an edit did, by IDs.
type SitesEdited struct {
	Epoch     uint64   `json:"epoch"` // of the head that has all of it; 0: there is none
	Added     []string `json:"added,omitempty"`
	Changed   []string `json:"changed,omitempty"`
	Unchanged []string `json:"unchanged,omitempty"`
	Again     []string `json:"again,omitempty"` // unchanged, at a new epoch
	Removed   []string `json:"removed,omitempty"`
	Missing   []string `json:"missing,omitempty"` // to be removed, and not there
}

// EditSites carries out the edit, in as few transactions as Consul's limits
// allow, each with the sites and the head, removals first. When somebody else
// was first, it reads again and tries anew, a bounded number of times
// (ErrConflict). What is there already is not written, but for SiteEdit.Again. SitesEdited says what is
// done even when there is an error. A fleet without a head gets one only if it
// has no site.
func (s *Store) EditSites(ctx context.Context, e SiteEdit) (SitesEdited, error) {
	ed := siteEditor{store: s, check: e.Check, now: e.Now, anew: e.Again}
	for _, id := range e.Remove {
		ed.rest = append(ed.rest, siteChange{id: id})
	}
	for i := range e.Put {
		ed.rest = append(ed.rest, siteChange{e.Put[i].ID, &e.Put[i]})
	}
	seen := map[string]bool{}
	for _, c := range ed.rest {
		if seen[c.id] {
			return SitesEdited{}, fmt.Errorf("edit sites: %s is there twice", c.id)
		}
		seen[c.id] = true
	}
	for len(ed.rest) > 0 {
		if err := retry(ctx, func() error { return ed.step(ctx) }); err != nil {
			return ed.done, fmt.Errorf("edit sites: %w", err)
		}
	}
	return ed.done, nil
}

// siteChange is one site to put, or to remove.
type siteChange struct {
	id  string
	put *site.Site
}

// siteEditor carries out one edit.
type siteEditor struct {
	store *Store
	check func([]site.Site) error
	now   bool
	anew  []string
	rest  []siteChange // what is left to do
	done  SitesEdited
}

// step reads the sites as they are and carries out as many of the changes as fit
// into one transaction.
func (ed *siteEditor) step(ctx context.Context) error {
	head, now, err := ed.store.siteStock(ctx)
	if err != nil {
		return err
	}
	if err := ed.ask(now); err != nil {
		return err
	}
	b := siteBatch{store: ed.store, head: head, now: now, changes: map[string]fleet.Hash{}, done: ed.done, size: frameBody, atOnce: ed.now, anew: ed.anew}
	n := 0
	for n < len(ed.rest) {
		fits, err := b.add(ed.rest[n])
		if err != nil {
			return err
		}
		if !fits {
			break
		}
		n++
	}
	if n == 0 {
		return fmt.Errorf("%s: with the head of the sites it is larger than a Consul transaction", ed.rest[0].id)
	}
	if err := b.commit(ctx); err != nil {
		return err
	}
	ed.rest, ed.done = ed.rest[n:], b.done
	return nil
}

// ask asks the edit's Check about the sites with all that is left to do.
func (ed *siteEditor) ask(now map[string]site.Site) error {
	if ed.check == nil {
		return nil
	}
	after := maps.Clone(now)
	for _, c := range ed.rest {
		delete(after, c.id)
		if c.put != nil {
			after[c.id] = *c.put
		}
	}
	return ed.check(slices.SortedFunc(maps.Values(after), func(a, b site.Site) int { return strings.Compare(a.ID, b.ID) }))
}

// siteStock is the head and the sites that can be read.
func (s *Store) siteStock(ctx context.Context) (SiteHeadRecord, map[string]site.Site, error) {
	head, err := s.SiteHead(ctx)
	if errors.Is(err, ErrMissing) {
		err = s.noSites(ctx)
	}
	if err != nil {
		return head, nil, err
	}
	list, _, err := s.Sites(ctx, head.Head.Sites)
	if err != nil {
		return head, nil, err
	}
	now := make(map[string]site.Site, len(list))
	for _, rec := range list {
		now[rec.Site.ID] = rec.Site
	}
	return head, now, nil
}

// noSites refuses to begin anew where there are sites: a head that cannot be
// seen is not one that was never written.
func (s *Store) noSites(ctx context.Context) error {
	q, cancel := read(ctx)
	defer cancel()
	keys, meta, err := s.client.KV().Keys(s.key(sitesPath), "", q)
	if err == nil {
		err = consul.Vouched(meta)
	}
	if err != nil {
		return fmt.Errorf("list sites: %w", denied(err))
	}
	if slices.Contains(keys, s.key(siteHeadPath)) {
		return ErrConflict // written in between
	}
	if len(keys) > 0 {
		return fmt.Errorf("read %s: %w, although there are %d records of sites: the head is lost or hidden, restore it", s.key(siteHeadPath), ErrMissing, len(keys))
	}
	return nil
}

// siteBatch is one transaction in the making.
type siteBatch struct {
	store   *Store
	head    SiteHeadRecord
	now     map[string]site.Site
	changes map[string]fleet.Hash
	ops     api.TxnOps
	size    int // in the body
	done    SitesEdited
	atOnce  bool
	anew    []string // IDs of sites that are written even if they are the same
}

// add puts one change into the transaction, if it fits.
func (b *siteBatch) add(c siteChange) (fits bool, _ error) {
	entry, known := b.head.Head.Find(c.id)
	known = known && !entry.Removed()
	key := b.store.key(sitePath(c.id))
	if c.put == nil {
		if !known {
			b.done.Missing = append(b.done.Missing, c.id)
			return true, nil
		}
		if fits = b.fit(&api.KVTxnOp{Verb: api.KVDelete, Key: key}); fits {
			b.changes[c.id], b.done.Removed = fleet.Hash{}, append(b.done.Removed, c.id)
		}
		return fits, nil
	}
	_, readable := b.now[c.id]
	unchanged := known && readable && same(*c.put, entry)
	if unchanged && !slices.Contains(b.anew, c.id) {
		b.done.Unchanged = append(b.done.Unchanged, c.id)
		return true, nil
	}
	epoch := b.head.Head.Epoch + 1
	plain, err := site.Encode(*c.put, epoch)
	if err != nil {
		return false, err
	}
	sealed, err := b.store.seal(sitePath(c.id), epoch, plain)
	if err != nil {
		return false, err
	}
	if !b.fit(&api.KVTxnOp{Verb: api.KVSet, Key: key, Value: sealed}) {
		return false, nil
	}
	b.changes[c.id] = site.HashOf(plain)
	switch {
	case unchanged:
		b.done.Again = append(b.done.Again, c.id)
	case known:
		b.done.Changed = append(b.done.Changed, c.id)
	default:
		b.done.Added = append(b.done.Added, c.id)
	}
	return true, nil
}

// same reports whether the head names just this site.
func same(v site.Site, e site.Entry) bool {
	plain, err := site.Encode(v, e.Epoch)
	return err == nil && site.HashOf(plain) == e.Hash
}

// fit adds an operation unless the transaction would become too large with the
// head.
func (b *siteBatch) fit(op *api.KVTxnOp) bool {
	size := b.size + opBody + len(op.Key) + base64.StdEncoding.EncodedLen(len(op.Value))
	headSize := base64.StdEncoding.EncodedLen(len(b.head.Sealed) + (len(b.changes)+1)*siteEntrySize)
	if len(b.ops)+frameOps > maxOps || size+headSize > maxBody {
		return false
	}
	b.ops, b.size = append(b.ops, &api.TxnOp{KV: op}), size
	return true
}

// siteEntrySize is above what one entry takes in the head in bytes.
const siteEntrySize = 128

// commit writes the batch, if there is anything to write. Every change of a site
// changes the head, which is what tells that somebody else was first.
func (b *siteBatch) commit(ctx context.Context) error {
	b.done.Epoch = b.head.Head.Epoch
	if len(b.changes) == 0 {
		return nil
	}
	var err error
	b.done.Epoch, err = b.store.putNextHead(ctx, b.head, b.changes, b.atOnce, b.ops)
	return err
}

// putNextHead writes the head after this one, with other operations, and
// returns its epoch.
func (s *Store) putNextHead(ctx context.Context, last SiteHeadRecord, changes map[string]fleet.Hash, now bool, ops api.TxnOps) (uint64, error) {
	next, err := last.Head.With(changes)
	if err != nil {
		return 0, err
	}
	if now {
		next.Now = next.Epoch
	}
	plain, err := site.EncodeHead(next)
	if err != nil {
		return 0, err
	}
	sealed, err := s.seal(siteHeadPath, next.Epoch, plain)
	if err != nil {
		return 0, err
	}
	head := &api.KVTxnOp{Verb: api.KVCAS, Key: s.key(siteHeadPath), Value: sealed, Index: last.Index}
	if _, err := s.commit(ctx, append(ops, &api.TxnOp{KV: head})); err != nil {
		return 0, err
	}
	return next.Epoch, nil
}

// AgainSites gives the sites as they are another epoch, with which their wave
// begins anew, or which every node serves at once. ErrMissing if there are none.
func (s *Store) AgainSites(ctx context.Context, now bool) (epoch uint64, _ error) {
	err := retry(ctx, func() error {
		head, err := s.SiteHead(ctx)
		if err != nil {
			return err
		}
		epoch, err = s.putNextHead(ctx, head, nil, now, nil)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("begin anew with sites: %w", err)
	}
	return epoch, nil
}
