package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

// pruneShards is how many shards lose tombstones in one round. Every node
// fetches them again.
const pruneShards = 64

// Prune takes the tombstones that were made before the given time out of some
// shards, and returns how many, also with an error. The caller knows that no
// node needs them any more (inventory.Shard.Prune). Shards that cannot be read
// are left as they are and named in the error. With a session, that session
// must hold the leader lock (ErrFenced).
func (s *Store) Prune(ctx context.Context, before time.Time, session string) (int, error) {
	head, err := s.Head(ctx)
	if err != nil {
		return 0, fmt.Errorf("prune inventory: %w", err)
	}
	records, bad, err := s.Shards(ctx, inventory.Changed(inventory.Head{}, head.Head))
	if err != nil {
		return 0, fmt.Errorf("prune inventory: %w", err)
	}
	var ripe []int
	for _, r := range records {
		if len(r.Shard.Prune(r.Shard.Epoch, before).Entries) < len(r.Shard.Entries) {
			ripe = append(ripe, r.Shard.Number)
		}
	}
	errs := slices.Collect(maps.Values(bad))
	pruned := 0
	if ripe = ripe[:min(len(ripe), pruneShards)]; len(ripe) > 0 {
		err := retry(ctx, func() (err error) {
			pruned, err = s.prune(ctx, ripe, before, session)
			return err
		})
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return pruned, fmt.Errorf("prune inventory: %w", err)
	}
	return pruned, nil
}

// prune writes as many of the shards as fit into one transaction.
func (s *Store) prune(ctx context.Context, numbers []int, before time.Time, session string) (int, error) {
	var groups []shardEdit
	for _, n := range numbers {
		groups = append(groups, shardEdit{number: n})
	}
	st, err := s.stock(ctx, groups)
	if err != nil {
		return 0, err
	}
	b := &batch{
		editor: &editor{store: s, session: session, written: map[string]bool{}}, stock: st, head: st.head.Head,
		changed: map[int]bool{}, inserted: map[string]bool{},
	}
	pruned := 0
	for _, n := range numbers {
		old := st.shards[n]
		r := shardResult{shard: old.Shard.Prune(st.head.Head.Epoch+1, before)}
		gone := len(old.Shard.Entries) - len(r.shard.Entries)
		if gone == 0 {
			continue
		}
		next := b.clone()
		if err := next.include(r, old); err != nil {
			return 0, err
		}
		if next.tooLarge() {
			break
		}
		*b, pruned = *next, pruned+gone
	}
	if err := b.commit(ctx); err != nil {
		return 0, err
	}
	return pruned, nil
}
