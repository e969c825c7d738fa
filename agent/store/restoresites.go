package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/site"
)

// sitesVacant refuses sites in Consul: ErrNewer or ErrOccupied.
func (s *Store) sitesVacant(ctx context.Context, copied site.Head) error {
	rec, err := s.SiteHead(ctx)
	switch {
	case errors.Is(err, ErrMissing):
		return nil
	case errors.Is(err, ErrRecord):
		return fmt.Errorf("%w: %w", ErrOccupied, err)
	case err != nil:
		return err
	case rec.Head.Epoch > copied.Epoch:
		return fmt.Errorf("%w: its sites are at epoch %d, the copy's at %d", ErrNewer, rec.Head.Epoch, copied.Epoch)
	}
	return fmt.Errorf("%w: it has sites at epoch %d", ErrOccupied, rec.Head.Epoch)
}

// RestoreSites writes the sites of a copy, at an epoch above all that nodes may
// have followed, and then their head; it returns how many. Sites in Consul that
// the copy does not have stay. ErrConflict if somebody else changes sites
// meanwhile; it may be done again.
func (s *Store) RestoreSites(ctx context.Context, c FleetCopy) (int, error) {
	r := &restorer{store: s}
	n, err := r.sites(ctx, c)
	if err != nil {
		return 0, fmt.Errorf("restore sites: %w", err)
	}
	return n, nil
}

func (r *restorer) sites(ctx context.Context, c FleetCopy) (int, error) {
	if c.SiteHead.Epoch == 0 {
		return 0, nil
	}
	now, err := r.store.SiteHead(ctx)
	if err != nil && !errors.Is(err, ErrMissing) && !errors.Is(err, ErrRecord) {
		return 0, err
	}
	reports, _, err := r.store.Reports(ctx)
	if err != nil {
		return 0, err
	}
	epoch := max(c.SiteHead.Epoch, now.Head.Epoch)
	for _, report := range reports {
		epoch = max(epoch, report.Sites)
	}
	if epoch, err = aboveEpoch(epoch, site.MaxEpoch); err != nil {
		return 0, err
	}
	entries := map[string]site.Entry{}
	for _, id := range now.Head.Live() {
		entries[id], _ = now.Head.Find(id)
	}
	for _, e := range c.SiteHead.Sites {
		// One that the copy lacks is missing, not removed.
		entries[e.ID] = site.Entry{ID: e.ID, Epoch: epoch, Hash: e.Hash}
	}
	r.guard = api.TxnOps{{KV: r.unchanged(siteHeadPath, now.Index)}}
	for _, id := range slices.Sorted(maps.Keys(c.Sites)) {
		plain, err := site.Encode(c.Sites[id], epoch)
		if err != nil {
			return 0, err
		}
		sealed, err := r.store.seal(sitePath(id), epoch, plain)
		if err == nil {
			err = r.put(ctx, sitePath(id), sealed)
		}
		if err != nil {
			return 0, err
		}
		entries[id] = site.Entry{ID: id, Epoch: epoch, Hash: site.HashOf(plain)}
	}
	if err := r.flush(ctx); err != nil {
		return 0, err
	}
	r.guard = nil
	head := site.Head{Epoch: epoch}
	for _, id := range slices.Sorted(maps.Keys(entries)) {
		head.Sites = append(head.Sites, entries[id])
	}
	plain, err := site.EncodeHead(head)
	if err != nil {
		return 0, err
	}
	sealed, err := r.store.seal(siteHeadPath, epoch, plain)
	if err == nil {
		_, err = r.store.put(ctx, siteHeadPath, sealed, now.Index, "")
	}
	return len(c.Sites), err
}

// unchanged checks that a key is as it was read; index 0: that it is not there.
func (r *restorer) unchanged(path string, index uint64) *api.KVTxnOp {
	if index == 0 {
		return &api.KVTxnOp{Verb: api.KVCheckNotExists, Key: r.store.key(path)}
	}
	return &api.KVTxnOp{Verb: api.KVCheckIndex, Key: r.store.key(path), Index: index}
}
