package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/consul"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Challenge is what every node's agent answers one HTTP-01 challenge with (RFC
// 8555, section 8.3), for fleets whose nginx does not answer by itself.
type Challenge struct {
	Token      string // as fleet.IsToken takes it
	Thumbprint string // of the account key
	At         time.Time
}

// Answer is the key authorization (RFC 8555, section 8.1).
func (c Challenge) Answer() string { return c.Token + "." + c.Thumbprint }

type challengeRecord struct {
	Schema     int    `json:"schema"`
	Thumbprint string `json:"thumbprint"`
	At         int64  `json:"at"` // Unix seconds
}

// errToken is a token that could be no part of a key.
var errToken = errors.New("not the base64url of a token")

// PutChallenge makes a challenge known to every node. The session has to hold the
// leader lock.
func (s *Store) PutChallenge(ctx context.Context, c Challenge, session string) error {
	if !fleet.IsToken(c.Token) {
		return fmt.Errorf("put challenge: %.60q: %w", c.Token, errToken)
	}
	if !fleet.IsThumbprint(c.Thumbprint) {
		return fmt.Errorf("put challenge: %w", errThumbprint)
	}
	plain, err := json.Marshal(challengeRecord{schema, c.Thumbprint, c.At.Unix()})
	if err != nil {
		return fmt.Errorf("put challenge: %w", err)
	}
	path := challengePath(c.Token)
	sealed, err := s.seal(path, immutable, plain)
	if err != nil {
		return err
	}
	write := &api.KVTxnOp{Verb: api.KVSet, Key: s.key(path), Value: sealed}
	if _, err := s.commit(ctx, append(s.fence(session), &api.TxnOp{KV: write})); err != nil {
		return fmt.Errorf("put challenge: %w", err)
	}
	return nil
}

// Challenge reads the challenge of a token. ErrMissing if nobody has made it
// known, or it is no token: then Consul is not asked. ErrRecord if it is refused.
func (s *Store) Challenge(ctx context.Context, token string) (Challenge, error) {
	if !fleet.IsToken(token) {
		return Challenge{}, fmt.Errorf("read challenge: %w: %w", ErrMissing, errToken)
	}
	q, cancel := read(ctx)
	defer cancel()
	pair, _, err := s.find(challengePath(token), q)
	if err != nil {
		return Challenge{}, err
	}
	return s.openChallenge(token, pair.Value)
}

func (s *Store) openChallenge(token string, sealed []byte) (Challenge, error) {
	return open(s, challengePath(token), sealed, func(plain []byte) (Challenge, uint64, error) {
		var rec challengeRecord
		if err := json.Unmarshal(plain, &rec); err != nil {
			return Challenge{}, 0, err
		}
		if rec.Schema != schema {
			return Challenge{}, 0, fmt.Errorf("%w: schema %d", ErrSchema, rec.Schema)
		}
		if !fleet.IsThumbprint(rec.Thumbprint) {
			return Challenge{}, 0, errThumbprint
		}
		return Challenge{token, rec.Thumbprint, time.Unix(rec.At, 0).UTC()}, immutable, nil
	})
}

// DropChallenges takes challenges away. The session has to hold the leader lock
// (ErrFenced).
func (s *Store) DropChallenges(ctx context.Context, tokens []string, session string) error {
	return s.drops(ctx, tokens, challengePath, session)
}

// OldChallenges are the tokens of challenges that were made known before a time,
// and of those that cannot be read: a leader that ended has left them.
func (s *Store) OldChallenges(ctx context.Context, before time.Time) ([]string, error) {
	q, cancel := read(ctx)
	defer cancel()
	pairs, meta, err := s.client.KV().List(s.key(challengesPath), q)
	if err == nil {
		err = consul.Vouched(meta)
	}
	if err != nil {
		return nil, fmt.Errorf("list challenges: %w", denied(err))
	}
	var old []string
	for _, pair := range pairs {
		token := strings.TrimPrefix(pair.Key, s.key(challengesPath))
		if c, err := s.openChallenge(token, pair.Value); err != nil || c.At.Before(before) {
			old = append(old, token)
		}
	}
	return old, nil
}
