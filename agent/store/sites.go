package store

import (
	"context"
	"fmt"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/site"
)

// SiteHeadRecord is the head of the sites as it was read from Consul.
type SiteHeadRecord struct {
	Head   site.Head
	Sealed []byte // as stored; a node may keep it on disk
	Index  uint64 // Consul's ModifyIndex
}

func (r SiteHeadRecord) version() version { return version{r.Index, r.Sealed} }

// SiteHead reads the head of the sites. ErrMissing if there is none, which says
// nothing about the sites; ErrRecord if it is refused.
func (s *Store) SiteHead(ctx context.Context) (SiteHeadRecord, error) {
	q, cancel := read(ctx)
	defer cancel()
	rec, _, err := s.getSiteHead(q) //nolint:contextcheck // q has it
	return rec, err
}

// WatchSiteHead is WatchRing for the head of the sites.
func (s *Store) WatchSiteHead(ctx context.Context, fn func(SiteHeadRecord, error)) error {
	watch(ctx, s.pace, s.getSiteHead, fn)
	return nil
}

// getSiteHead reads the head; the metadata is nil if Consul gave no usable answer.
func (s *Store) getSiteHead(q *api.QueryOptions) (SiteHeadRecord, *api.QueryMeta, error) {
	pair, meta, err := s.findSealed(siteHeadPath, q)
	if err != nil {
		return SiteHeadRecord{}, meta, err
	}
	rec, err := s.siteHeadOf(pair)
	return rec, meta, err
}

func (s *Store) siteHeadOf(pair *api.KVPair) (SiteHeadRecord, error) {
	rec := SiteHeadRecord{Sealed: pair.Value, Index: pair.ModifyIndex}
	var err error
	rec.Head, err = s.OpenSiteHead(pair.Value)
	return rec, err
}

// OpenSiteHead reads a record of the head, from Consul or from a local copy.
// The error wraps ErrRecord and the cause.
func (s *Store) OpenSiteHead(sealed []byte) (site.Head, error) {
	return open(s, siteHeadPath, sealed, func(plain []byte) (site.Head, uint64, error) {
		h, err := site.DecodeHead(plain)
		return h, h.Epoch, err
	})
}

// SiteRecord is one site as it was read from Consul.
type SiteRecord struct {
	Site   site.Site
	Epoch  uint64
	Hash   fleet.Hash // site.HashOf the record
	Sealed []byte     // as stored; a node may keep it on disk
}

// OpenSite reads the record of a site, from Consul or from a local copy. The
// error wraps ErrRecord and the cause.
func (s *Store) OpenSite(id string, sealed []byte) (SiteRecord, error) {
	return s.openSite(sitePath(id), id, sealed)
}

func (s *Store) openSite(path, id string, sealed []byte) (SiteRecord, error) {
	rec := SiteRecord{Sealed: sealed}
	var err error
	rec.Site, err = open(s, path, sealed, func(plain []byte) (site.Site, uint64, error) {
		v, epoch, err := site.Decode(plain)
		rec.Epoch, rec.Hash = epoch, site.HashOf(plain)
		return v, epoch, err
	})
	if err == nil && rec.Site.ID != id {
		err = fmt.Errorf("open %s: %w: it is the site %s", path, ErrRecord, rec.Site.ID)
	}
	if err != nil {
		return SiteRecord{Sealed: sealed}, err
	}
	return rec, nil
}

// Sites reads the sites of entries of a head, without its tombstones. Those that
// cannot be used are in the map by ID, and the others are read all the same:
// ErrMissing, ErrDenied, ErrRecord, also for one that is older than the head
// says or not what it says. A newer one is taken. The error is for what ends
// the reading.
func (s *Store) Sites(ctx context.Context, entries []site.Entry) (list []SiteRecord, bad map[string]error, _ error) {
	var live []site.Entry
	var paths []string
	for _, e := range entries {
		if !e.Removed() {
			live, paths = append(live, e), append(paths, sitePath(e.ID))
		}
	}
	bad = map[string]error{}
	err := s.getAll(ctx, paths, func(i int, pair *api.KVPair, err error) {
		var rec SiteRecord
		if err == nil {
			rec, err = s.OpenSite(live[i].ID, pair.Value)
		}
		if err == nil {
			err = asInHead(rec, live[i])
		}
		if err != nil {
			bad[live[i].ID] = err
			return
		}
		list = append(list, rec)
	})
	if err != nil {
		return nil, bad, fmt.Errorf("read sites: %w", err)
	}
	return list, bad, nil
}

// asInHead refuses a record that is not the one that the head names, nor newer.
func asInHead(rec SiteRecord, e site.Entry) error {
	if rec.Epoch < e.Epoch {
		return fmt.Errorf("read %s: %w: epoch %d, the head says %d", sitePath(e.ID), ErrRecord, rec.Epoch, e.Epoch)
	}
	if rec.Epoch == e.Epoch && rec.Hash != e.Hash {
		return fmt.Errorf("read %s: %w: it is not what the head says", sitePath(e.ID), ErrRecord)
	}
	return nil
}
