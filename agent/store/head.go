package store

import (
	"context"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

// HeadRecord is the inventory's head as it was read from Consul.
type HeadRecord struct {
	Head   inventory.Head
	Sealed []byte // as stored; a node may keep it on disk
	Index  uint64 // Consul's ModifyIndex
}

func (r HeadRecord) version() version { return version{r.Index, r.Sealed} }

// Head reads the head. ErrMissing if there is none, which says nothing about
// the certificates; ErrRecord if it is refused.
func (s *Store) Head(ctx context.Context) (HeadRecord, error) {
	q, cancel := read(ctx)
	defer cancel()
	rec, _, err := s.getHead(q) //nolint:contextcheck // q has it
	return rec, err
}

// getHead reads the head; the metadata is nil if Consul gave no usable answer.
func (s *Store) getHead(q *api.QueryOptions) (HeadRecord, *api.QueryMeta, error) {
	pair, meta, err := s.findSealed(headPath, q)
	if err != nil {
		return HeadRecord{}, meta, err
	}
	rec, err := s.headOf(pair)
	return rec, meta, err
}

func (s *Store) headOf(pair *api.KVPair) (HeadRecord, error) {
	rec := HeadRecord{Sealed: pair.Value, Index: pair.ModifyIndex}
	var err error
	rec.Head, err = s.OpenHead(pair.Value)
	return rec, err
}

// OpenHead reads a head's record, from Consul or from a local copy. The error
// wraps ErrRecord and the cause.
func (s *Store) OpenHead(sealed []byte) (inventory.Head, error) {
	return open(s, headPath, sealed, func(plain []byte) (inventory.Head, uint64, error) {
		h, err := inventory.DecodeHead(plain)
		return h, h.Epoch, err
	})
}

func (s *Store) sealHead(h inventory.Head) ([]byte, error) {
	plain, err := inventory.EncodeHead(h)
	if err != nil {
		return nil, err
	}
	return s.seal(headPath, h.Epoch, plain)
}
