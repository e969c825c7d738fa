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
	for b := range s.batches(ctx, paths) {
		if b.err != nil {
			return b.err
		}
		for i, path := range b.paths {
			pair, err := b.record(path)
			each(b.from+i, pair, err)
		}
	}
	return nil
}

// readBatch is some of many keys, from one of them on, or why they were not read.
type readBatch struct {
	snapshot
	from  int
	paths []string
	err   error
}

// batches reads many keys, and goes on while the caller looks at what came. It
// ends with the first error, and has to be read to its end.
func (s *Store) batches(ctx context.Context, paths []string) <-chan readBatch {
	read := make(chan readBatch)
	go func() {
		defer close(read)
		size := firstGets
		for from := 0; from < len(paths); {
			b := readBatch{from: from, paths: paths[from:min(from+size, len(paths))]}
			b.snapshot, b.err = s.snapshot(ctx, b.paths)
			read <- b
			if b.err != nil {
				return
			}
			largest := 1
			for _, pair := range b.pairs {
				largest = max(largest, len(pair.Value))
			}
			from += len(b.paths)
			size = min(max(answerSize/largest, 1), maxGets)
		}
	}()
	return read
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
	var answer reads
	q = answer.answer().with(q) //nolint:contextcheck // it is q's own
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
