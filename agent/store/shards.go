package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/hashicorp/consul/api"
	"golang.org/x/sync/errgroup"

	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

// ShardRecord is a shard of the inventory as it was read from Consul.
type ShardRecord struct {
	Shard  inventory.Shard
	Sealed []byte // as stored; a node may keep it on disk
	Index  uint64 // Consul's ModifyIndex
}

// Shards reads the shards with these numbers. One that is missing (ErrMissing),
// refused (ErrRecord) or not readable (ErrDenied) is in the map by its number,
// and the others are read all the same; the error is for what ends the reading.
// Their epochs are for the caller to compare with the head's: a lower one is an
// old record, a higher one was written since.
func (s *Store) Shards(ctx context.Context, numbers []int) ([]ShardRecord, map[int]error, error) {
	paths := make([]string, len(numbers))
	for i, n := range numbers {
		paths[i] = shardPath(n)
	}
	opened, errs := make([]ShardRecord, len(numbers)), make([]error, len(numbers))
	var opening errgroup.Group
	opening.SetLimit(runtime.GOMAXPROCS(0))
	err := s.getAll(ctx, paths, func(i int, pair *api.KVPair, err error) {
		if errs[i] = err; err != nil {
			return
		}
		opening.Go(func() error {
			opened[i], errs[i] = s.shardOf(numbers[i], pair)
			return nil
		})
	})
	if err := errors.Join(err, opening.Wait()); err != nil {
		return nil, nil, fmt.Errorf("read shards: %w", err)
	}
	var records []ShardRecord
	bad := map[int]error{}
	for i, n := range numbers {
		if errs[i] != nil {
			bad[n] = errs[i]
		} else {
			records = append(records, opened[i])
		}
	}
	return records, bad, nil
}

// ShardsOf is Shards for one who has read this head, with less work for Consul's
// leader where that gives a shard as new as the head says.
func (s *Store) ShardsOf(ctx context.Context, head inventory.Head, numbers []int) ([]ShardRecord, map[int]error, error) {
	if len(numbers) == 1 {
		n := numbers[0]
		if pair, err := s.findWith(ctx, shardPath(n), readSoon); err == nil {
			if rec, err := s.shardOf(n, pair); err == nil && rec.Shard.Epoch >= head.Shards[n] {
				return []ShardRecord{rec}, map[int]error{}, nil
			}
		}
	}
	return s.Shards(ctx, numbers)
}

func (s *Store) shardOf(number int, pair *api.KVPair) (ShardRecord, error) {
	shard, err := s.OpenShard(number, pair.Value)
	if err != nil {
		return ShardRecord{}, err
	}
	return ShardRecord{Shard: shard, Sealed: pair.Value, Index: pair.ModifyIndex}, nil
}

// OpenShard reads the record of the shard with this number, from Consul or from
// a local copy. The error wraps ErrRecord and the cause.
func (s *Store) OpenShard(number int, sealed []byte) (inventory.Shard, error) {
	return open(s, shardPath(number), sealed, func(plain []byte) (inventory.Shard, uint64, error) {
		shard, err := inventory.DecodeShard(number, plain)
		return shard, shard.Epoch, err
	})
}

func (s *Store) sealShard(shard inventory.Shard) ([]byte, error) {
	plain, err := inventory.EncodeShard(shard)
	if err != nil {
		return nil, err
	}
	return s.seal(shardPath(shard.Number), shard.Epoch, plain)
}
