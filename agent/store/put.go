package store

import (
	"context"
	"fmt"
	"strings"

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
	ops := api.TxnOps{{KV: write}}
	if session != "" {
		fence := &api.KVTxnOp{Verb: api.KVCheckSession, Key: s.LeaderKey(), Session: session}
		ops = api.TxnOps{{KV: fence}, {KV: write}}
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	ok, resp, _, err := s.client.Txn().Txn(ops, new(api.QueryOptions).WithContext(ctx))
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, refusal(ops, resp.Errors)
	}
	if len(resp.Results) != len(ops) || resp.Results[len(ops)-1].KV == nil {
		return 0, fmt.Errorf("transaction answered %d results, want %d", len(resp.Results), len(ops))
	}
	return resp.Results[len(ops)-1].KV.ModifyIndex, nil
}

// refusal names what a refused transaction failed of. Consul lists every
// operation that failed, and answers a missing permission in the same way,
// known only by its text (acl.PermissionDeniedError).
func refusal(ops api.TxnOps, failed api.TxnErrors) error {
	fenced := false
	var what []string
	for _, f := range failed {
		if strings.Contains(f.What, "Permission denied") {
			return fmt.Errorf("%w: %s", ErrDenied, f.What)
		}
		if f.OpIndex >= 0 && f.OpIndex < len(ops) && ops[f.OpIndex].KV.Verb == api.KVCheckSession {
			fenced = true
		}
		what = append(what, f.What)
	}
	if fenced {
		return fmt.Errorf("%w: %s", ErrFenced, strings.Join(what, "; "))
	}
	return fmt.Errorf("%w: %s", ErrConflict, strings.Join(what, "; "))
}
