package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

// AccountRecord is the ACME account as it was read from Consul.
type AccountRecord struct {
	Account issuance.Account
	Index   uint64 // Consul's ModifyIndex, for PutAccount
	Old     bool   // sealed with the fleet's keyring, although leaders have one: write it again
}

// Account reads the fleet's ACME account. ErrMissing if there is none,
// ErrDenied if this node's token may not read it, ErrRecord if it is refused.
func (s *Store) Account(ctx context.Context) (AccountRecord, error) {
	q, cancel := read(ctx)
	defer cancel()
	pair, _, err := s.find(accountPath, q)
	if err != nil {
		return AccountRecord{}, err
	}
	a, old, err := s.openAccount(pair.Value)
	if err != nil {
		return AccountRecord{}, err
	}
	return AccountRecord{a, pair.ModifyIndex, old}, nil
}

// PutAccount writes the account if the record still has prevIndex; 0 means that
// there must be none, so that two leaders never make two keys. The session has
// to hold the leader lock. Errors are those of PutRing.
func (s *Store) PutAccount(ctx context.Context, a issuance.Account, prevIndex uint64, session string) (AccountRecord, error) {
	plain, err := issuance.EncodeAccount(a)
	if err != nil {
		return AccountRecord{}, err
	}
	sealed, err := s.accountKeyring().Seal(s.fleet, s.key(accountPath), immutable, plain)
	if err != nil {
		return AccountRecord{}, fmt.Errorf("seal record: %w", err)
	}
	index, err := s.put(ctx, accountPath, sealed, prevIndex, session)
	if err != nil {
		return AccountRecord{}, fmt.Errorf("put account: %w", err)
	}
	return AccountRecord{Account: a, Index: index}, nil
}

// Answer is what every node needs to answer HTTP-01 challenges by itself (RFC
// 8555, section 8.3): public, but sealed so that nobody else can set it.
type Answer struct {
	Thumbprint string // of the account key (RFC 7638), base64url
}

// AnswerRecord is an Answer as it was read from Consul.
type AnswerRecord struct {
	Answer Answer
	Sealed []byte // as stored; a node may keep it on disk
	Index  uint64
}

func (r AnswerRecord) version() version { return version{r.Index, r.Sealed} }

type answerRecord struct {
	Schema     int    `json:"schema"`
	Thumbprint string `json:"thumbprint"`
}

// errThumbprint is a thumbprint that could not stand in nginx's configuration.
var errThumbprint = errors.New("not the base64url of a SHA-256")

// PutAnswer writes the answer unless it is there already. The session has to
// hold the leader lock.
func (s *Store) PutAnswer(ctx context.Context, a Answer, session string) error {
	q, cancel := read(ctx)
	defer cancel()
	rec, _, err := s.getAnswer(q)
	if err == nil && rec.Answer == a {
		return nil
	}
	if err != nil && !errors.Is(err, ErrMissing) && !errors.Is(err, ErrRecord) {
		return err
	}
	plain, err := json.Marshal(answerRecord{schema, a.Thumbprint})
	if err != nil {
		return fmt.Errorf("put answer: %w", err)
	}
	sealed, err := s.seal(answerPath, immutable, plain)
	if err != nil {
		return err
	}
	if _, err := s.put(ctx, answerPath, sealed, rec.Index, session); err != nil {
		return fmt.Errorf("put answer: %w", err)
	}
	return nil
}

// OpenAnswer reads a record that PutAnswer made, from Consul or from a local
// copy. The error wraps ErrRecord and the cause.
func (s *Store) OpenAnswer(sealed []byte) (Answer, error) {
	return open(s, answerPath, sealed, func(plain []byte) (Answer, uint64, error) {
		var rec answerRecord
		if err := json.Unmarshal(plain, &rec); err != nil {
			return Answer{}, 0, err
		}
		if rec.Schema != schema {
			return Answer{}, 0, fmt.Errorf("%w: schema %d", ErrSchema, rec.Schema)
		}
		if !fleet.IsThumbprint(rec.Thumbprint) {
			return Answer{}, 0, errThumbprint
		}
		return Answer{rec.Thumbprint}, immutable, nil
	})
}

// Answer reads the answer. Errors are those of Account; with ErrRecord the record
// has its Index and Sealed.
func (s *Store) Answer(ctx context.Context) (AnswerRecord, error) {
	q, cancel := read(ctx)
	defer cancel()
	rec, _, err := s.getAnswer(q)
	return rec, err
}

// WatchAnswer is WatchRing for the answer.
func (s *Store) WatchAnswer(ctx context.Context, fn func(AnswerRecord, error)) error {
	watch(ctx, s.pace, s.getAnswer, fn)
	return nil
}

func (s *Store) getAnswer(q *api.QueryOptions) (AnswerRecord, *api.QueryMeta, error) {
	pair, meta, err := s.find(answerPath, q)
	if err != nil {
		return AnswerRecord{}, meta, err
	}
	rec := AnswerRecord{Sealed: pair.Value, Index: pair.ModifyIndex}
	rec.Answer, err = s.OpenAnswer(pair.Value)
	return rec, meta, err
}

// Used reads what of a CA's limits is used; nothing if there is no record. ca is
// a name as of fleet.CheckName.
func (s *Store) Used(ctx context.Context, ca string) (map[string]time.Time, error) {
	q, cancel := read(ctx)
	defer cancel()
	pair, _, err := s.get(ledgerPath(ca), q)
	if err != nil || pair == nil {
		return nil, err
	}
	return open(s, ledgerPath(ca), pair.Value, func(plain []byte) (map[string]time.Time, uint64, error) {
		used, err := issuance.DecodeUsed(plain)
		return used, immutable, err
	})
}

// PutUsed writes what of a CA's limits is used. The session has to hold the
// leader lock.
func (s *Store) PutUsed(ctx context.Context, ca string, used map[string]time.Time, session string) error {
	plain, err := issuance.EncodeUsed(used)
	if err != nil {
		return err
	}
	sealed, err := s.seal(ledgerPath(ca), immutable, plain)
	if err != nil {
		return err
	}
	write := &api.KVTxnOp{Verb: api.KVSet, Key: s.key(ledgerPath(ca)), Value: sealed}
	if _, err := s.commit(ctx, append(s.fence(session), &api.TxnOp{KV: write})); err != nil {
		return fmt.Errorf("put ledger of %s: %w", ca, err)
	}
	return nil
}
