package store

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/consul"
	"github.com/tlsfleet/tlsfleet/agent/site"
)

// Operators write sites under one key each, over the one before. What nodes
// serve is pinned beside that, under the epoch, and is never changed: the epoch
// that is on its way and the one to go back to.

// PinnedHead reads the head of an epoch that is pinned. ErrMissing if it is not;
// ErrRecord if it is refused.
func (s *Store) PinnedHead(ctx context.Context, epoch uint64) (SiteHeadRecord, error) {
	q, cancel := read(ctx)
	defer cancel()
	pair, _, err := s.findSealed(pinnedHeadPath(epoch), q) //nolint:contextcheck // q has it
	if err != nil {
		return SiteHeadRecord{}, err
	}
	rec := SiteHeadRecord{Sealed: pair.Value, Index: pair.ModifyIndex}
	if rec.Head, err = s.OpenPinnedHead(pair.Value); err == nil && rec.Head.Epoch != epoch {
		err = fmt.Errorf("read %s: %w: it is that of epoch %d", pair.Key, ErrRecord, rec.Head.Epoch)
	}
	return rec, err
}

// OpenPinnedHead is OpenSiteHead for a pinned one of any epoch.
func (s *Store) OpenPinnedHead(sealed []byte) (site.Head, error) {
	return open(s, pinnedHeadsPath, sealed, func(plain []byte) (site.Head, uint64, error) {
		h, err := site.DecodeHead(plain)
		return h, h.Epoch, err
	})
}

// OpenPinnedSite is OpenSite for a pinned one of any epoch.
func (s *Store) OpenPinnedSite(id string, sealed []byte) (SiteRecord, error) {
	return s.openSite(pinnedSealPath(id), id, sealed)
}

// PinnedSites reads the sites of entries of a pinned head, without its
// tombstones, each just as its entry says. Those that cannot be used are in the
// map by ID: ErrMissing, ErrDenied, ErrRecord.
func (s *Store) PinnedSites(ctx context.Context, entries []site.Entry) (list []SiteRecord, bad map[string]error, _ error) {
	live := slices.DeleteFunc(slices.Clone(entries), site.Entry.Removed)
	paths := make([]string, len(live))
	for i, e := range live {
		paths[i] = pinnedSitePath(e.ID, e.Epoch)
	}
	bad = map[string]error{}
	err := s.getAll(ctx, paths, func(i int, pair *api.KVPair, err error) {
		var rec SiteRecord
		if err == nil {
			rec, err = s.OpenPinnedSite(live[i].ID, pair.Value)
		}
		if err == nil && (rec.Epoch != live[i].Epoch || rec.Hash != live[i].Hash) {
			err = fmt.Errorf("read %s: %w: it is not what the head says", pair.Key, ErrRecord)
		}
		if err != nil {
			bad[live[i].ID] = err
			return
		}
		list = append(list, rec)
	})
	if err != nil {
		return nil, bad, fmt.Errorf("read pinned sites: %w", err)
	}
	return list, bad, nil
}

// PinSites pins the sites of a head as they are in Consul now, beside those of
// base, which are pinned already (zero value: none). A site whose record cannot
// be used is pinned as it is in base, or left out, and is in the map with the
// reason; one that is out is pinned so too. ErrConflict: the sites have changed since the head was read. The
// session has to hold the leader lock (ErrFenced).
func (s *Store) PinSites(ctx context.Context, head, base site.Head, out []string, session string) (bad map[string]error, _ error) {
	there, err := s.pins(ctx)
	if err != nil {
		return nil, err
	}
	var want []site.Entry
	for _, e := range head.Sites {
		if old, ok := base.Find(e.ID); !e.Removed() && !slices.Contains(out, e.ID) && (!ok || old != e || !there[pinnedSitePath(e.ID, e.Epoch)]) {
			want = append(want, e)
		}
	}
	list, bad, err := s.Sites(ctx, want)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(r SiteRecord) bool {
		e, _ := head.Find(r.Site.ID)
		if r.Epoch != e.Epoch {
			bad[e.ID] = fmt.Errorf("read %s: %w: epoch %d, the head says %d", sitePath(e.ID), ErrRecord, r.Epoch, e.Epoch)
		}
		return r.Epoch != e.Epoch
	})
	if err := s.excuse(ctx, head, bad); err != nil {
		return nil, fmt.Errorf("pin sites of epoch %d: %w", head.Epoch, err)
	}
	p := pinBatch{store: s, session: session}
	for _, rec := range list {
		if err := p.site(ctx, rec); err != nil {
			return nil, fmt.Errorf("pin site %s: %w", rec.Site.ID, err)
		}
	}
	if err := p.head(ctx, withoutBad(head, base, func(id string) bool { return bad[id] != nil || slices.Contains(out, id) })); err != nil {
		return nil, fmt.Errorf("pin sites of epoch %d: %w", head.Epoch, err)
	}
	return bad, nil
}

// excuse refuses to go on where sites cannot be used because they have changed
// since the head was read, or because nobody lets us.
func (s *Store) excuse(ctx context.Context, head site.Head, bad map[string]error) error {
	if len(bad) == 0 {
		return nil
	}
	for _, err := range bad {
		if errors.Is(err, ErrDenied) {
			return err
		}
	}
	now, err := s.SiteHead(ctx)
	if err == nil && now.Head.Epoch != head.Epoch {
		err = fmt.Errorf("%w: it is epoch %d now", ErrConflict, now.Head.Epoch)
	}
	return err
}

// withoutBad is the head with the entries of base for sites that cannot be used.
func withoutBad(head, base site.Head, bad func(id string) bool) site.Head {
	n := site.Head{Epoch: head.Epoch}
	for _, e := range head.Sites {
		if bad(e.ID) {
			old, ok := base.Find(e.ID)
			if !ok || old.Removed() {
				continue
			}
			e = old
		}
		if !e.Removed() {
			n.Sites = append(n.Sites, e)
		}
	}
	return n
}

// pinBatch writes records that nothing points at yet, a transaction at a time.
type pinBatch struct {
	store   *Store
	session string
	ops     api.TxnOps
	size    int
}

func (p *pinBatch) site(ctx context.Context, rec SiteRecord) error {
	plain, err := site.Encode(rec.Site, rec.Epoch)
	if err != nil {
		return err
	}
	sealed, err := p.store.seal(pinnedSealPath(rec.Site.ID), rec.Epoch, plain)
	if err != nil {
		return err
	}
	return p.add(ctx, pinnedSitePath(rec.Site.ID, rec.Epoch), sealed)
}

// head writes the head, after all that it names.
func (p *pinBatch) head(ctx context.Context, h site.Head) error {
	plain, err := site.EncodeHead(h)
	if err != nil {
		return err
	}
	sealed, err := p.store.seal(pinnedHeadsPath, h.Epoch, plain)
	if err == nil {
		err = p.add(ctx, pinnedHeadPath(h.Epoch), sealed)
	}
	if err != nil {
		return err
	}
	return p.flush(ctx)
}

func (p *pinBatch) add(ctx context.Context, path string, value []byte) error {
	size := opBody + len(p.store.key(path)) + base64.StdEncoding.EncodedLen(len(value))
	if len(p.ops) > 0 && (len(p.ops)+frameOps > maxOps || frameBody+p.size+size > maxBody) {
		if err := p.flush(ctx); err != nil {
			return err
		}
	}
	p.ops = append(p.ops, &api.TxnOp{KV: &api.KVTxnOp{Verb: api.KVSet, Key: p.store.key(path), Value: value}})
	p.size += size
	return nil
}

func (p *pinBatch) flush(ctx context.Context) error {
	if len(p.ops) == 0 {
		return nil
	}
	_, err := p.store.commit(ctx, append(p.store.fence(p.session), p.ops...))
	p.ops, p.size = nil, 0
	return err
}

// pins are the paths of all that is pinned.
func (s *Store) pins(ctx context.Context) (map[string]bool, error) {
	q, cancel := read(ctx)
	defer cancel()
	keys, meta, err := s.client.KV().Keys(s.key(wavesPath), "", q)
	if err == nil {
		err = consul.Vouched(meta)
	}
	if err != nil {
		return nil, fmt.Errorf("list pinned sites: %w", denied(err))
	}
	there := map[string]bool{}
	for _, k := range keys {
		if path := strings.TrimPrefix(k, s.key("")); path != wavePath {
			there[path] = true
		}
	}
	return there, nil
}

// UnpinSites removes what is pinned and belongs to none of these epochs, and
// says how many records that were. The session has to hold the leader lock
// (ErrFenced).
func (s *Store) UnpinSites(ctx context.Context, keep []uint64, session string) (int, error) {
	there, err := s.pins(ctx)
	if err != nil {
		return 0, err
	}
	for _, epoch := range keep {
		head, err := s.PinnedHead(ctx, epoch)
		if err != nil {
			return 0, fmt.Errorf("unpin sites: %w", err)
		}
		delete(there, pinnedHeadPath(epoch))
		for _, e := range head.Head.Sites {
			delete(there, pinnedSitePath(e.ID, e.Epoch))
		}
	}
	var ops api.TxnOps
	flush := func() error {
		if len(ops) == 0 {
			return nil
		}
		_, err := s.commit(ctx, append(s.fence(session), ops...))
		ops = nil
		return err
	}
	gone := 0
	for path := range there {
		if !isPin(path) {
			continue
		}
		ops = append(ops, &api.TxnOp{KV: &api.KVTxnOp{Verb: api.KVDelete, Key: s.key(path)}})
		if gone++; len(ops)+frameOps > maxOps {
			if err := flush(); err != nil {
				return gone, fmt.Errorf("unpin sites: %w", err)
			}
		}
	}
	if err := flush(); err != nil {
		return gone, fmt.Errorf("unpin sites: %w", err)
	}
	return gone, nil
}

// isPin tells records of this schema from what others have put there.
func isPin(path string) bool {
	epoch, ok := strings.CutPrefix(path, pinnedHeadsPath)
	if !ok {
		rest, isSite := strings.CutPrefix(path, pinnedSitesPath)
		id, number, cut := strings.Cut(rest, "/")
		if !isSite || !cut || site.CheckID(id) != nil {
			return false
		}
		epoch = number
	}
	_, err := strconv.ParseUint(epoch, 10, 64)
	return err == nil
}
