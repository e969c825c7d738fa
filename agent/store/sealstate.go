package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hashicorp/consul/api"
)

// SealState says which keys the records in Consul are sealed with. It is a note
// of the leader's, so that not every leader reads all records.
type SealState struct {
	Key     string // id of the key that every record was seen to be sealed with
	Leaders string // the same for what leaders alone can read; empty: they have no keyring
	Ask     uint64 // Rotation.Ask that it answers
}

type sealStateRecord struct {
	Schema  int    `json:"schema"`
	Key     string `json:"key"`
	Leaders string `json:"leaders,omitempty"`
	Ask     uint64 `json:"ask,omitempty"`
}

// SealState reads the state; the zero value if there is none, or none that this
// keyring opens.
func (s *Store) SealState(ctx context.Context) (SealState, error) {
	q, cancel := read(ctx)
	defer cancel()
	pair, _, err := s.get(sealStatePath, q)
	if err != nil || pair == nil {
		return SealState{}, err
	}
	state, err := open(s, sealStatePath, pair.Value, func(plain []byte) (SealState, uint64, error) {
		var rec sealStateRecord
		if err := json.Unmarshal(plain, &rec); err != nil {
			return SealState{}, 0, err
		}
		if rec.Schema != schema {
			return SealState{}, 0, fmt.Errorf("%w: schema %d", ErrSchema, rec.Schema)
		}
		return SealState{rec.Key, rec.Leaders, rec.Ask}, lastWins, nil
	})
	if err != nil {
		s.log.Debug("state of the seals not usable", "err", err)
		return SealState{}, nil
	}
	return state, nil
}

// PutSealState writes the state. The session has to hold the leader lock
// (ErrFenced).
func (s *Store) PutSealState(ctx context.Context, state SealState, session string) error {
	plain, err := json.Marshal(sealStateRecord{schema, state.Key, state.Leaders, state.Ask})
	if err != nil {
		return fmt.Errorf("write %s: %w", s.key(sealStatePath), err)
	}
	sealed, err := s.seal(sealStatePath, lastWins, plain)
	if err != nil {
		return err
	}
	write := &api.KVTxnOp{Verb: api.KVSet, Key: s.key(sealStatePath), Value: sealed}
	if _, err := s.commit(ctx, append(s.fence(session), &api.TxnOp{KV: write})); err != nil {
		return fmt.Errorf("write %s: %w", s.key(sealStatePath), err)
	}
	return nil
}

// Rotation is what an operator wants of the keyrings. The zero value is nothing.
type Rotation struct {
	To      string // id of the key that a rotation of the keyring is under way to; empty: none is
	Leaders string // the same of the leaders' keyring
	Forced  string // id of a key that is to be used although nodes lack it
	Ask     uint64 // counts how often the leader was asked to look at all records
}

// RotationRecord is a Rotation as it was read from Consul.
type RotationRecord struct {
	Rotation Rotation
	Index    uint64 // for PutRotation; 0: there is no record
	sealed   []byte
}

func (r RotationRecord) version() version { return version{r.Index, r.sealed} }

type rotationRecord struct {
	Schema  int    `json:"schema"`
	To      string `json:"to,omitempty"`
	Leaders string `json:"leaders,omitempty"`
	Forced  string `json:"forced,omitempty"`
	Ask     uint64 `json:"ask,omitempty"`
}

// Rotation reads what is wanted. A record that this keyring does not open has an
// Index and nothing else.
func (s *Store) Rotation(ctx context.Context) (RotationRecord, error) {
	q, cancel := read(ctx)
	defer cancel()
	rec, _, err := s.getRotation(q) //nolint:contextcheck // q has it
	if errors.Is(err, ErrMissing) || errors.Is(err, ErrRecord) {
		err = nil
	}
	return rec, err
}

// WatchRotation is WatchRing for the rotation.
func (s *Store) WatchRotation(ctx context.Context, fn func(RotationRecord, error)) error {
	watch(ctx, s.pace, s.getRotation, fn)
	return nil
}

func (s *Store) getRotation(q *api.QueryOptions) (RotationRecord, *api.QueryMeta, error) {
	pair, meta, err := s.find(rotationPath, q)
	if err != nil {
		return RotationRecord{}, meta, err
	}
	rec := RotationRecord{Index: pair.ModifyIndex, sealed: pair.Value}
	rec.Rotation, err = open(s, rotationPath, pair.Value, func(plain []byte) (Rotation, uint64, error) {
		var rec rotationRecord
		if err := json.Unmarshal(plain, &rec); err != nil {
			return Rotation{}, 0, err
		}
		if rec.Schema != schema {
			return Rotation{}, 0, fmt.Errorf("%w: schema %d", ErrSchema, rec.Schema)
		}
		return Rotation{rec.To, rec.Leaders, rec.Forced, rec.Ask}, lastWins, nil
	})
	return rec, meta, err
}

// PutRotation writes what is wanted if the record still has prevIndex; 0 means
// that there must be none (ErrConflict).
func (s *Store) PutRotation(ctx context.Context, r Rotation, prevIndex uint64) (RotationRecord, error) {
	plain, err := json.Marshal(rotationRecord{schema, r.To, r.Leaders, r.Forced, r.Ask})
	if err != nil {
		return RotationRecord{}, fmt.Errorf("write %s: %w", s.key(rotationPath), err)
	}
	sealed, err := s.seal(rotationPath, lastWins, plain)
	if err != nil {
		return RotationRecord{}, err
	}
	index, err := s.put(ctx, rotationPath, sealed, prevIndex, "")
	if err != nil {
		return RotationRecord{}, fmt.Errorf("write %s: %w", s.key(rotationPath), err)
	}
	return RotationRecord{r, index, sealed}, nil
}
