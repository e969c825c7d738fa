package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/tlsfleet/tlsfleet/agent/consul"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

// stock is the head and some shards at one moment.
type stock struct {
	head   HeadRecord
	shards map[int]ShardRecord // before its first version: index 0
	bad    map[int]error
}

// stock reads the head and the shards of an edit. The error says that nothing
// may be written.
func (s *Store) stock(ctx context.Context, groups []shardEdit) (stock, error) {
	paths := []string{headPath}
	for _, g := range groups {
		paths = append(paths, shardPath(g.number))
	}
	snap, err := s.snapshot(ctx, paths)
	if err != nil {
		return stock{}, err
	}
	st := stock{shards: map[int]ShardRecord{}, bad: map[int]error{}}
	if st.head, err = s.headIn(ctx, snap); err != nil {
		return stock{}, err
	}
	for _, g := range groups {
		rec, err := s.shardIn(snap, g.number, st.head.Head)
		if err != nil {
			st.bad[g.number] = err
			continue
		}
		st.shards[g.number] = rec
	}
	return st, nil
}

// headIn is the head of a snapshot, or that of a fleet without certificates.
func (s *Store) headIn(ctx context.Context, snap snapshot) (HeadRecord, error) {
	pair, err := snap.record(headPath)
	if err == nil {
		return s.headOf(pair)
	}
	if !errors.Is(err, ErrMissing) {
		return HeadRecord{}, err
	}
	return HeadRecord{}, s.checkNew(ctx, err)
}

// checkNew refuses to take a fleet for a new one that has lost its head. The
// head may also have been made meanwhile, which is a conflict. It looks no
// further than at certificates: not every token that writes them may see all.
func (s *Store) checkNew(ctx context.Context, missing error) error {
	q, cancel := read(ctx)
	defer cancel()
	for _, path := range []string{inventoryPath, bundlesPath, chainsPath} {
		keys, meta, err := s.client.KV().Keys(s.key(path), "/", q)
		if err == nil {
			err = consul.Vouched(meta)
		}
		if err != nil {
			return fmt.Errorf("list keys of fleet %s: %w", s.fleet, denied(err))
		}
		if len(keys) == 0 {
			continue
		}
		if pair, _, err := s.get(headPath, q); err != nil || pair != nil {
			return errors.Join(err, fmt.Errorf("read %s: %w", s.key(headPath), ErrConflict))
		}
		return fmt.Errorf("%w, but there is %s: restore it", missing, s.key(path))
	}
	return nil
}

// shardIn is a shard of a snapshot in the version that the head of the same
// moment names.
func (s *Store) shardIn(snap snapshot, number int, head inventory.Head) (ShardRecord, error) {
	want := head.Shards[number]
	pair, err := snap.record(shardPath(number))
	if errors.Is(err, ErrMissing) && want == 0 {
		return ShardRecord{Shard: inventory.Shard{Number: number}}, nil
	}
	if err != nil {
		return ShardRecord{}, err
	}
	rec, err := s.shardOf(number, pair)
	if err == nil && rec.Shard.Epoch != want {
		err = errOtherEpoch(number, rec.Shard.Epoch, want)
	}
	return rec, err
}

// errOtherEpoch refuses a shard and a head that were not written together.
func errOtherEpoch(number int, got, want uint64) error {
	return fmt.Errorf("open %s: %w: it is at epoch %d, the head says %d", shardPath(number), ErrRecord, got, want)
}
