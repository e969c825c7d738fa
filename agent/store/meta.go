package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hashicorp/consul/api"
)

// schema is the version of the records this build writes, and the highest it
// reads.
const schema = 1

type metaRecord struct {
	Schema int `json:"schema"`
}

// CheckMeta reads the fleet's schema version. ErrSchema if it is newer than
// this build understands, ErrMissing on a new fleet, ErrRecord if refused.
func (s *Store) CheckMeta(ctx context.Context) error {
	q, cancel := read(ctx)
	defer cancel()
	pair, _, err := s.get(metaPath, q)
	if err != nil {
		return err
	}
	if pair == nil {
		return fmt.Errorf("read %s: %w", s.key(metaPath), ErrMissing)
	}
	return s.checkMeta(pair)
}

func (s *Store) checkMeta(pair *api.KVPair) error {
	plain, _, err := s.keyring.Open(s.fleet, s.key(metaPath), pair.Value)
	if err != nil {
		return fmt.Errorf("open %s: %w: %w", pair.Key, ErrRecord, err)
	}
	var m metaRecord
	if err := json.Unmarshal(plain, &m); err != nil {
		return fmt.Errorf("open %s: %w: %w", pair.Key, ErrRecord, err)
	}
	if m.Schema > schema {
		return fmt.Errorf("open %s: schema %d, this build knows %d: %w", pair.Key, m.Schema, schema, ErrSchema)
	}
	if m.Schema < 1 {
		return fmt.Errorf("open %s: %w: schema %d", pair.Key, ErrRecord, m.Schema)
	}
	return nil
}

// EnsureMeta is CheckMeta, and on a new fleet writes the version first, fenced
// by the session if there is one.
func (s *Store) EnsureMeta(ctx context.Context, session string) error {
	err := s.CheckMeta(ctx)
	if !errors.Is(err, ErrMissing) {
		return err
	}
	plain, err := json.Marshal(metaRecord{Schema: schema})
	if err != nil {
		return fmt.Errorf("write %s: %w", s.key(metaPath), err)
	}
	sealed, err := s.keyring.Seal(s.fleet, s.key(metaPath), schema, plain)
	if err != nil {
		return fmt.Errorf("write %s: %w", s.key(metaPath), err)
	}
	_, err = s.put(ctx, metaPath, sealed, 0, session)
	if errors.Is(err, ErrConflict) {
		return s.CheckMeta(ctx)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", s.key(metaPath), err)
	}
	return nil
}
