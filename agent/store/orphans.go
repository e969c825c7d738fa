package store

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/consul"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Orphans lists the bundles that no shard names, sorted. Nodes may still serve
// them or be about to fetch them: the caller remembers when it saw each of them
// first, and calls DropBundles after a grace time. An error, never a guess, if
// any shard cannot be read. Chains are few and stay.
func (s *Store) Orphans(ctx context.Context) ([]fleet.Hash, error) {
	// Before the shards: a bundle that is written later is in neither.
	hashes, err := s.listBundles(ctx)
	if err != nil {
		return nil, fmt.Errorf("find orphans: %w", err)
	}
	in := &inUse{store: s}
	if err := in.refresh(ctx); err != nil {
		return nil, fmt.Errorf("find orphans: %w", err)
	}
	return in.without(hashes), nil
}

// listBundles lists the keys alone. An error, never a short list, if Consul
// does not vouch for it being whole.
func (s *Store) listBundles(ctx context.Context) ([]fleet.Hash, error) {
	q, cancel := read(ctx)
	defer cancel()
	prefix := s.key(bundlesPath)
	keys, meta, err := s.client.KV().Keys(prefix, "", q)
	if err == nil {
		err = consul.Vouched(meta)
	}
	if err != nil {
		return nil, fmt.Errorf("list bundles: %w", denied(err))
	}
	hashes := make([]fleet.Hash, 0, len(keys))
	for _, key := range keys {
		hash, err := fleet.ParseHash(strings.TrimPrefix(key, prefix))
		if err != nil {
			s.log.Debug("key ignored", "key", key, "err", err)
			continue
		}
		hashes = append(hashes, hash)
	}
	return hashes, nil
}

// DropBundles deletes the bundles that no shard names at that moment, and
// returns how many of them it deleted, also with an error. Each transaction
// fails if the inventory was changed since it was looked at, and is then tried
// again a bounded number of times (ErrConflict). With a session, that session
// must hold the leader lock (ErrFenced).
func (s *Store) DropBundles(ctx context.Context, hashes []fleet.Hash, session string) (int, error) {
	in := &inUse{store: s}
	dropped := 0
	for chunk := range slices.Chunk(hashes, maxOps-frameOps) {
		n := 0
		err := retry(ctx, func() (err error) {
			if err = in.refresh(ctx); err != nil {
				return err
			}
			n, err = s.drop(ctx, in.head, in.without(chunk), session)
			return err
		})
		dropped += n
		if err != nil {
			return dropped, fmt.Errorf("drop bundles: %w", err)
		}
	}
	return dropped, nil
}

// drop deletes bundles if the head is still the same.
func (s *Store) drop(ctx context.Context, head HeadRecord, orphans []fleet.Hash, session string) (int, error) {
	if len(orphans) == 0 {
		return 0, nil
	}
	same := &api.KVTxnOp{Verb: api.KVCheckIndex, Key: s.key(headPath), Index: head.Index}
	ops := append(s.fence(session), &api.TxnOp{KV: same})
	for _, hash := range orphans {
		ops = append(ops, &api.TxnOp{KV: &api.KVTxnOp{Verb: api.KVDelete, Key: s.key(bundlePath(hash))}})
	}
	if _, err := s.commit(ctx, ops); err != nil {
		return 0, err
	}
	return len(orphans), nil
}
