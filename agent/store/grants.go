package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/consul"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// GrantRecord is the keyring that was wrapped for a node, as it was read from
// Consul. It is not sealed: only the operator can make it, and only the node
// open it (package seal).
type GrantRecord struct {
	Node   string // as the key says
	Record []byte
	Index  uint64 // Consul's ModifyIndex
}

func (r GrantRecord) version() version { return version{r.Index, r.Record} }

// WatchGrant is WatchRing for the keyring of a node.
func (s *Store) WatchGrant(ctx context.Context, node string, fn func(GrantRecord, error)) error {
	if err := fleet.CheckName(node); err != nil {
		return fmt.Errorf("watch keyring: node: %w", err)
	}
	watch(ctx, s.pace, func(q *api.QueryOptions) (GrantRecord, *api.QueryMeta, error) {
		pair, meta, err := s.find(grantPath(node), q)
		if err != nil {
			return GrantRecord{}, meta, err
		}
		return GrantRecord{node, pair.Value, pair.ModifyIndex}, meta, nil
	}, fn)
	return nil
}

// Grants reads the keyrings of all nodes that have one, sorted by node.
func (s *Store) Grants(ctx context.Context) ([]GrantRecord, error) {
	q, cancel := read(ctx)
	defer cancel()
	prefix := s.key(grantsPath)
	pairs, meta, err := s.client.KV().List(prefix, q)
	if err == nil {
		err = consul.Vouched(meta)
	}
	if err != nil {
		return nil, fmt.Errorf("list admitted nodes: %w", denied(err))
	}
	var list []GrantRecord
	for _, pair := range pairs {
		if node := strings.TrimPrefix(pair.Key, prefix); fleet.CheckName(node) == nil {
			list = append(list, GrantRecord{node, pair.Value, pair.ModifyIndex})
		}
	}
	return list, nil
}

// PutGrant writes the keyring of a node if the record still has prevIndex; 0 means
// that there must be none (ErrConflict).
func (s *Store) PutGrant(ctx context.Context, node string, record []byte, prevIndex uint64) error {
	if err := fleet.CheckName(node); err != nil {
		return fmt.Errorf("put keyring: node: %w", err)
	}
	if _, err := s.put(ctx, grantPath(node), record, prevIndex, ""); err != nil {
		return fmt.Errorf("put keyring of %s: %w", node, err)
	}
	return nil
}

// DropGrant takes the keyring of a node away.
func (s *Store) DropGrant(ctx context.Context, r GrantRecord) error {
	drop := &api.KVTxnOp{Verb: api.KVDeleteCAS, Key: s.key(grantPath(r.Node)), Index: r.Index}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	ok, resp, _, err := s.client.Txn().Txn(api.TxnOps{{KV: drop}}, new(api.QueryOptions).WithContext(ctx))
	if err == nil && !ok {
		err = refusal(api.TxnOps{{KV: drop}}, resp.Errors)
	}
	if err != nil {
		return fmt.Errorf("drop keyring of %s: %w", r.Node, err)
	}
	return nil
}
