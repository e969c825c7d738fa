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
	shards [inventory.Shards][]fleet.Hash
}

// refresh reads the head, and the shards that moved until it stays the same. A
// shard that cannot be read, or is older than the head says, is an error.
func (u *inUse) refresh(ctx context.Context) error {
	for range conflictTries {
		head, err := u.store.Head(ctx)
		if err != nil {
			return err
		}
		if head.version().equal(u.head.version()) {
			return nil
		}
		moved := moved(u.head.Head, head.Head)
		records, bad, err := u.store.Shards(ctx, moved)
		if err != nil {
			return err
		}
		for _, n := range moved {
			if bad[n] != nil {
				return bad[n]
			}
			u.shards[n] = nil
		}
		for _, rec := range records {
			n := rec.Shard.Number
			if want := head.Head.Shards[n]; rec.Shard.Epoch < want {
				return fmt.Errorf("open %s: %w: it is at epoch %d, the head says %d", shardPath(n), ErrRecord, rec.Shard.Epoch, want)
			}
			for _, e := range rec.Shard.Entries {
				if !e.Removed {
					u.shards[n] = append(u.shards[n], e.Bundle)
				}
			}
		}
		u.head = head
	}
	return fmt.Errorf("read inventory: %w", ErrConflict)
}

// moved lists the shards to read when the head changed, whichever way.
func moved(have, want inventory.Head) []int {
	var ns []int
	for n := range inventory.Shards {
		if want.Shards[n] != have.Shards[n] {
			ns = append(ns, n)
		}
	}
	return ns
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
