package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hashicorp/consul/api"
)

// SlotLimit is how many nodes may reload nginx at once.
type SlotLimit struct {
	Slots int  // at least 1
	All   bool // no limit: Slots does not count
}

// oneSlot is the limit where no leader has said another one.
var oneSlot = SlotLimit{Slots: 1}

// mostSlots bounds what a record may say.
const mostSlots = 100_000

// lastWins is the epoch of records of which only the last one written counts.
const lastWins = 1

type limitRecord struct {
	Schema int  `json:"schema"`
	Slots  int  `json:"slots"`
	All    bool `json:"all,omitempty"`
}

// PutSlotLimit writes the limit if it is not the one in Consul. The session has
// to hold the leader lock (ErrFenced). A record that cannot be read is replaced.
func (s *Store) PutSlotLimit(ctx context.Context, l SlotLimit, session string) error {
	q, cancel := read(ctx)
	defer cancel()
	pair, _, err := s.get(limitPath, q)
	if err != nil {
		return err
	}
	if pair != nil {
		if now, err := s.openLimit(pair.Value); err == nil && now == l {
			return nil
		} else if errors.Is(err, ErrSchema) {
			return fmt.Errorf("write %s: %w", pair.Key, err)
		}
	}
	plain, err := json.Marshal(limitRecord{schema, l.Slots, l.All})
	if err != nil {
		return fmt.Errorf("write %s: %w", s.key(limitPath), err)
	}
	sealed, err := s.seal(limitPath, lastWins, plain)
	if err != nil {
		return err
	}
	write := &api.KVTxnOp{Verb: api.KVSet, Key: s.key(limitPath), Value: sealed}
	if _, err := s.commit(ctx, append(s.fence(session), &api.TxnOp{KV: write})); err != nil {
		return fmt.Errorf("write %s: %w", s.key(limitPath), err)
	}
	return nil
}

func (s *Store) openLimit(sealed []byte) (SlotLimit, error) {
	return open(s, limitPath, sealed, func(plain []byte) (SlotLimit, uint64, error) {
		var rec limitRecord
		if err := json.Unmarshal(plain, &rec); err != nil {
			return SlotLimit{}, 0, err
		}
		switch {
		case rec.Schema > schema:
			return SlotLimit{}, 0, fmt.Errorf("%w: schema %d", ErrSchema, rec.Schema)
		case rec.Schema != schema:
			return SlotLimit{}, 0, fmt.Errorf("schema %d", rec.Schema)
		case rec.Slots < 1 || rec.Slots > mostSlots:
			return SlotLimit{}, 0, fmt.Errorf("%d slots", rec.Slots)
		}
		return SlotLimit{rec.Slots, rec.All}, lastWins, nil
	})
}
