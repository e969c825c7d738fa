package store

import (
	"fmt"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/consul"
)

// get reads one key: a nil pair means that Consul vouches for its absence.
func (s *Store) get(path string, q *api.QueryOptions) (*api.KVPair, *api.QueryMeta, error) {
	pair, meta, err := s.client.KV().Get(s.key(path), q)
	if err == nil && pair == nil {
		err = consul.Vouched(meta)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", s.key(path), denied(err))
	}
	return pair, meta, nil
}

// find is get for a key that has to be there: ErrMissing, with the metadata, if
// Consul vouches for its absence.
func (s *Store) find(path string, q *api.QueryOptions) (*api.KVPair, *api.QueryMeta, error) {
	pair, meta, err := s.get(path, q)
	if err == nil && pair == nil {
		err = fmt.Errorf("read %s: %w", s.key(path), ErrMissing)
	}
	return pair, meta, err
}
