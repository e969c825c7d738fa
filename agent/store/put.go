package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// PutRing writes the ring if the record still has prevIndex; 0 means that
// there must be none. With a session, that session must hold the leader lock.
// ErrFenced, ErrConflict and ErrDenied mean that nothing was written; after any
// other error it may have been: read again.
func (s *Store) PutRing(ctx context.Context, r fleet.Ring, prevIndex uint64, session string) (RingRecord, error) {
	sealed, err := s.SealRing(r)
	if err != nil {
		return RingRecord{}, err
	}
	index, err := s.put(ctx, ringPath, sealed, prevIndex, session)
	if err != nil {
		return RingRecord{}, fmt.Errorf("put ring %d at index %d: %w", r.Epoch, prevIndex, err)
	}
	return RingRecord{Ring: r, Sealed: sealed, Index: index}, nil
}

// put writes one record in one transaction and returns its new index.
func (s *Store) put(ctx context.Context, path string, value []byte, prevIndex uint64, session string) (uint64, error) {
	write := &api.KVTxnOp{Verb: api.KVCAS, Key: s.key(path), Value: value, Index: prevIndex}
	results, err := s.commit(ctx, append(s.fence(session), &api.TxnOp{KV: write}))
	if err != nil {
		return 0, err
	}
	last := results[len(results)-1]
	if last == nil || last.KV == nil {
		return 0, errors.New("transaction answered no record")
	}
	return last.KV.ModifyIndex, nil
}
