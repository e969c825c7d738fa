package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/hashicorp/consul/api"
)

// fence is the first operations of a transaction: with a session, that session
// must hold the leader lock.
func (s *Store) fence(session string) api.TxnOps {
	if session == "" {
		return nil
	}
	return api.TxnOps{{KV: &api.KVTxnOp{Verb: api.KVCheckSession, Key: s.LeaderKey(), Session: session}}}
}

// commit carries out all operations or none, and returns the results: one for
// each but deletions and checks that nothing is there. ErrFenced, ErrConflict and ErrDenied mean that nothing was
// written; after any other error it may have been.
func (s *Store) commit(ctx context.Context, ops api.TxnOps) (api.TxnResults, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	ok, resp, _, err := s.client.Txn().Txn(ops, new(api.QueryOptions).WithContext(ctx))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, refusal(ops, resp.Errors)
	}
	if got, want := len(resp.Results), answered(ops); got != want {
		return nil, fmt.Errorf("transaction answered %d results, want %d", got, want)
	}
	return resp.Results, nil
}

// answered is how many of the operations have a result when they succeed.
func answered(ops api.TxnOps) int {
	n := 0
	for _, op := range ops {
		if op.KV.Verb != api.KVDelete && op.KV.Verb != api.KVCheckNotExists {
			n++
		}
	}
	return n
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
