package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/consul"
)

// How many keys one transaction reads: few until it is known how large they
// are, then so many that the answer has about answerSize bytes of values.
const (
	firstGets  = 8
	maxGets    = 128
	answerSize = 1 << 20
)

// getAll reads many keys, a batch at a time, and calls each for every one, in
// order, with its record or why there is none: ErrMissing if Consul vouches for
// that, ErrDenied. The error is for what ends the reading.
func (s *Store) getAll(ctx context.Context, paths []string, each func(i int, pair *api.KVPair, err error)) error {
	if len(paths) == 1 {
		return s.getOne(ctx, paths[0], func(pair *api.KVPair, err error) { each(0, pair, err) })
	}
	size := firstGets
	for from := 0; from < len(paths); {
		batch := paths[from:min(from+size, len(paths))]
		pairs, err := s.snapshot(ctx, batch)
		if err != nil {
			return err
		}
		largest := 1
		for i, path := range batch {
			pair, err := pairs.record(path)
			each(from+i, pair, err)
			if pair != nil {
				largest = max(largest, len(pair.Value))
			}
		}
		from += len(batch)
		size = min(max(answerSize/largest, 1), maxGets)
	}
	return nil
}

// getOne is getAll for one key.
func (s *Store) getOne(ctx context.Context, path string, each func(pair *api.KVPair, err error)) error {
	pair, err := s.findWith(ctx, path, read)
	if err != nil && !errors.Is(err, ErrMissing) && !errors.Is(err, ErrDenied) {
		return err
	}
	each(pair, err)
	return nil
}

// snapshot is some keys at one moment.
type snapshot struct {
	store *Store
	pairs map[string]*api.KVPair
}

// snapshot reads up to 128 keys in one transaction, which sees every write that
// was answered before it.
func (s *Store) snapshot(ctx context.Context, paths []string) (snapshot, error) {
	ops := make(api.TxnOps, len(paths))
	for i, path := range paths {
		ops[i] = &api.TxnOp{KV: &api.KVTxnOp{Verb: api.KVGetOrEmpty, Key: s.key(path)}}
	}
	q, cancel := read(ctx)
	defer cancel()
	var answer manyAnswer
	q = q.WithContext(context.WithValue(q.Context(), manyKey{}, &answer)) //nolint:contextcheck // it is q's own
	ok, resp, meta, err := s.client.Txn().Txn(ops, q)
	if err == nil && !ok {
		err = refusal(ops, resp.Errors)
	}
	if err == nil {
		err = consul.Vouched(meta)
	}
	if err != nil {
		return snapshot{}, fmt.Errorf("read %s: %w", s.key(paths[0]), denied(err))
	}
	snap := snapshot{store: s, pairs: make(map[string]*api.KVPair, len(paths))}
	for _, r := range answer.Results {
		if r.KV != nil {
			snap.pairs[r.KV.Key] = r.KV
		}
	}
	return snap, nil
}

// record is the record under one of the keys that were read. Consul answers a
// key that is not there by one that was never written, and leaves out those
// that the token may not read.
func (n snapshot) record(path string) (*api.KVPair, error) {
	key := n.store.key(path)
	pair := n.pairs[key]
	switch {
	case pair == nil:
		return nil, fmt.Errorf("read %s: %w: Consul left it out of its answer", key, ErrDenied)
	case pair.ModifyIndex == 0:
		return nil, fmt.Errorf("read %s: %w", key, ErrMissing)
	}
	return pair, nil
}
