package store

import (
	"context"
	"fmt"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/ticket"
)

// RingRecord is a ring as it was read from Consul.
type RingRecord struct {
	Ring   fleet.Ring
	Sealed []byte // as stored; a node may keep it on disk
	Index  uint64 // Consul's ModifyIndex, for PutRing
}

func (r RingRecord) version() version { return version{r.Index, r.Sealed} }

// SealRing makes the ring's record for this fleet.
func (s *Store) SealRing(r fleet.Ring) ([]byte, error) {
	plain, err := ticket.Encode(r)
	if err != nil {
		return nil, fmt.Errorf("seal ring %d: %w", r.Epoch, err)
	}
	sealed, err := s.keyring.Seal(s.fleet, s.key(ringPath), r.Epoch, plain)
	if err != nil {
		return nil, fmt.Errorf("seal ring %d: %w", r.Epoch, err)
	}
	return sealed, nil
}

// OpenRing reads a record that SealRing made, from Consul or from a local
// copy. The error wraps ErrRecord and the cause.
func (s *Store) OpenRing(sealed []byte) (fleet.Ring, error) {
	plain, epoch, err := s.keyring.Open(s.fleet, s.key(ringPath), sealed)
	if err != nil {
		return fleet.Ring{}, fmt.Errorf("open ring: %w: %w", ErrRecord, err)
	}
	r, err := ticket.Decode(plain)
	if err != nil {
		return fleet.Ring{}, fmt.Errorf("open ring: %w: %w", ErrRecord, err)
	}
	if r.Epoch != epoch {
		return fleet.Ring{}, fmt.Errorf("open ring: %w: epoch %d in an envelope of epoch %d", ErrRecord, r.Epoch, epoch)
	}
	return r, nil
}

// Ring reads the ring. ErrMissing if there is none, ErrRecord if it is
// refused.
func (s *Store) Ring(ctx context.Context) (RingRecord, error) {
	q, cancel := read(ctx)
	defer cancel()
	rec, _, err := s.getRing(q)
	return rec, err
}

// getRing reads the ring; the metadata is nil if Consul gave no usable answer.
func (s *Store) getRing(q *api.QueryOptions) (RingRecord, *api.QueryMeta, error) {
	pair, meta, err := s.find(ringPath, q)
	if err != nil {
		return RingRecord{}, meta, err
	}
	rec := RingRecord{Sealed: pair.Value, Index: pair.ModifyIndex}
	rec.Ring, err = s.OpenRing(pair.Value)
	if err != nil {
		return rec, meta, err
	}
	return rec, meta, nil
}
