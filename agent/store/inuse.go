package store

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

// inUse is which bundles the whole inventory names, at one version of its head.
type inUse struct {
	store  *Store
	head   HeadRecord
	epochs [inventory.Shards]uint64
	shards [inventory.Shards][]fleet.Hash
}

// refresh reads the head, and the shards that moved until it stays the same: no
// shard changes without it. A shard that cannot be read, or is not the version
// that the head names, is an error.
func (u *inUse) refresh(ctx context.Context) error {
	for range conflictTries {
		head, err := u.store.Head(ctx)
		if err != nil {
			return err
		}
		if head.version().equal(u.head.version()) {
			return u.check()
		}
		if err := u.follow(ctx, head); err != nil {
			return err
		}
	}
	return fmt.Errorf("read inventory: %w", ErrConflict)
}

// follow reads the shards that are different in a new head.
func (u *inUse) follow(ctx context.Context, head HeadRecord) error {
	var moved []int
	for n, epoch := range head.Head.Shards {
		if epoch != u.epochs[n] {
			moved = append(moved, n)
		}
	}
	records, bad, err := u.store.Shards(ctx, moved)
	if err != nil {
		return err
	}
	for _, n := range moved {
		if bad[n] != nil {
			return bad[n]
		}
	}
	for _, rec := range records {
		n := rec.Shard.Number
		u.epochs[n], u.shards[n] = rec.Shard.Epoch, nil
		for _, e := range rec.Shard.Entries {
			if !e.Removed {
				u.shards[n] = append(u.shards[n], e.Bundle)
			}
		}
	}
	u.head = head
	return nil
}

func (u *inUse) check() error {
	for n, want := range u.head.Head.Shards {
		if got := u.epochs[n]; got != want {
			return errOtherEpoch(n, got, want)
		}
	}
	return nil
}

// without returns those of the hashes that no shard names, sorted.
func (u *inUse) without(hashes []fleet.Hash) []fleet.Hash {
	unnamed := make(map[fleet.Hash]bool, len(hashes))
	for _, hash := range hashes {
		unnamed[hash] = true
	}
	for _, named := range u.shards {
		for _, hash := range named {
			delete(unnamed, hash)
		}
	}
	list := make([]fleet.Hash, 0, len(unnamed))
	for hash := range unnamed {
		list = append(list, hash)
	}
	slices.SortFunc(list, func(a, b fleet.Hash) int { return bytes.Compare(a[:], b[:]) })
	return list
}
