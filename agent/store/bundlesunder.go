package store

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// listPause is how long nothing is listed after a list that failed: where the
// way to Consul is too slow for one, the next would be, too.
const listPause = 5 * time.Minute

// BundlesUnder is Bundles for hashes that begin with some hexadecimal digits, for
// one who wants most of what begins so: Consul lists it in one request, with two
// thirds of the work. What the list does not have is read as Bundles does, and
// all without digits.
func (s *Store) BundlesUnder(ctx context.Context, digits string, hashes []fleet.Hash) (map[fleet.Hash]bundle.Bundle, map[fleet.Hash]error, error) {
	if digits == "" || time.Now().UnixNano() < s.listAgain.Load() {
		return s.Bundles(ctx, hashes)
	}
	listed, err := s.list(ctx, bundlesPath+digits)
	if err != nil {
		s.listAgain.Store(time.Now().Add(listPause).UnixNano())
		s.log.Debug("bundles not listed, reading one by one", "next", listPause, "err", err)
	}
	good := make(map[fleet.Hash]bundle.Bundle, len(hashes))
	chain := s.chainOnce(ctx)
	var series bundle.Series
	var rest []fleet.Hash
	for _, hash := range hashes {
		err := ErrMissing
		if pair := listed[s.key(bundlePath(hash))]; pair != nil {
			good[hash], err = s.bundleOf(&series, hash, pair, chain)
		}
		if err != nil {
			delete(good, hash)
			rest = append(rest, hash)
		}
	}
	more, bad, err := s.Bundles(ctx, rest)
	maps.Copy(good, more)
	return good, bad, err
}

// list reads all keys under a prefix. It may miss the last writes.
func (s *Store) list(ctx context.Context, prefix string) (map[string]*api.KVPair, error) {
	q, cancel := readSoon(ctx)
	defer cancel()
	var answer listing
	if _, _, err := s.client.KV().List(s.key(prefix), answer.answer().with(q)); err != nil { //nolint:contextcheck // q has it
		return nil, fmt.Errorf("list %s: %w", s.key(prefix), denied(err))
	}
	all := make(map[string]*api.KVPair, len(answer))
	for _, pair := range answer {
		if pair != nil {
			all[pair.Key] = pair
		}
	}
	return all, nil
}
