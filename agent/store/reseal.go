package store

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/consul"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/seal"
)

// resealChunk is how many records are read before those of them are written that
// are sealed with another key. Few, because a write in between repeats them all.
const resealChunk = 64

// Area is records that one holder of a token may write. Reports are in none:
// each node writes its own.
type Area struct{ singles, folders []string }

// The areas. Sites and the record of the rotation itself belong to operators;
// leaders may not write them.
var (
	LeaderArea = Area{
		singles: []string{metaPath, ringPath, accountPath, answerPath, limitPath},
		folders: []string{inventoryPath, bundlesPath, chainsPath, issuancePath, intakePath, ledgersPath, challengesPath, wavesPath},
	}
	OperatorArea = Area{singles: []string{rotationPath}, folders: []string{sitesPath}}
	// ReadableArea is what an operator may read.
	ReadableArea = Area{
		singles: []string{metaPath, ringPath, answerPath, rotationPath, wavePath},
		folders: []string{inventoryPath, bundlesPath, chainsPath, issuancePath, intakePath, sitesPath},
	}
)

// Keys are the ids of the keys of the keyring; the first seals.
func (s *Store) Keys() []string { return s.keyring.IDs() }

// LeaderKeys are the ids of the keys of the leaders' keyring; nil: there is none.
func (s *Store) LeaderKeys() []string {
	if s.leaders == nil {
		return nil
	}
	return s.leaders.IDs()
}

// Own is the record of a path as this node keeps it: sealed with the key that
// seals here. One that cannot be opened is returned as it is.
func (s *Store) Own(path string, sealed []byte) []byte {
	own, err := s.keyring.Reseal(s.fleet, s.key(path), sealed)
	if err != nil {
		return sealed
	}
	return own
}

// Resealed says what became of records.
type Resealed struct {
	Seen, Total int
	Changed     int              // sealed anew
	Bad         map[string]error // by path: not to be opened, left as they are
}

// Reseal seals each record of an area anew that is sealed with another key than
// the first: the same contents at the same epoch, so that nobody who follows it
// has anything to do. Each write is for the record that was read, and with a
// session for as long as that holds the leader lock (ErrFenced). It may break off
// anywhere and be done again. ErrConflict if others write all the time.
func (s *Store) Reseal(ctx context.Context, area Area, session string, progress func(Resealed)) (Resealed, error) {
	r := resealer{store: s, session: session, done: Resealed{Bad: map[string]error{}}}
	err := s.walk(ctx, area, func(part []string, total int) error {
		r.done.Total = total
		if err := retry(ctx, func() error { return r.part(ctx, part) }); err != nil {
			return err
		}
		r.done.Seen += len(part)
		if progress != nil {
			progress(r.done)
		}
		return nil
	})
	if err != nil {
		return r.done, fmt.Errorf("seal records anew: %w", err)
	}
	return r.done, nil
}

// Tally counts the records of an area by the key that they are sealed with, and
// under "" what is not sealed at all.
func (s *Store) Tally(ctx context.Context, area Area, progress func(seen, total int)) (map[string]int, error) {
	count, seen := map[string]int{}, 0
	err := s.walk(ctx, area, func(part []string, total int) error {
		var failed error
		err := s.getAll(ctx, part, func(_ int, pair *api.KVPair, err error) {
			switch {
			case err == nil:
				id, _ := seal.SealedWith(pair.Value) //nolint:errcheck // none, then
				count[id]++
			case !errors.Is(err, ErrMissing):
				failed = errors.Join(failed, err)
			}
		})
		if seen += len(part); progress != nil {
			progress(seen, total)
		}
		return errors.Join(err, failed)
	})
	if err != nil {
		return nil, fmt.Errorf("count records by key: %w", err)
	}
	return count, nil
}

// walk calls each with the paths of an area that there are, some at a time.
func (s *Store) walk(ctx context.Context, area Area, each func(part []string, total int) error) error {
	paths := slices.Clone(area.singles)
	for _, folder := range area.folders {
		q, cancel := read(ctx)
		keys, meta, err := s.client.KV().Keys(s.key(folder), "", q)
		cancel()
		if err == nil {
			err = consul.Vouched(meta)
		}
		if err != nil {
			return fmt.Errorf("list %s: %w", s.key(folder), denied(err))
		}
		for _, key := range keys {
			if path := strings.TrimPrefix(key, s.key("")); path != folder {
				paths = append(paths, path)
			}
		}
	}
	for part := range slices.Chunk(paths, resealChunk) {
		if err := each(part, len(paths)); err != nil {
			return err
		}
	}
	return nil
}

// resealer carries out Reseal.
type resealer struct {
	store   *Store
	session string
	done    Resealed
}

// part seals some records anew, in as few transactions as they fit in.
func (r *resealer) part(ctx context.Context, paths []string) error {
	var ops api.TxnOps
	var failed error
	err := r.store.getAll(ctx, paths, func(i int, pair *api.KVPair, err error) {
		switch {
		case errors.Is(err, ErrMissing):
			return
		case err != nil:
			failed = errors.Join(failed, err)
			return
		}
		sealed, err := r.store.reseal(paths[i], pair.Value)
		if err != nil {
			r.done.Bad[paths[i]] = err
		} else if !bytes.Equal(sealed, pair.Value) {
			ops = append(ops, &api.TxnOp{KV: &api.KVTxnOp{Verb: api.KVCAS, Key: pair.Key, Value: sealed, Index: pair.ModifyIndex}})
		}
	})
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	for len(ops) > 0 {
		n, size := 0, frameBody
		for n < len(ops) && n < maxOps-frameOps {
			size += opBody + len(ops[n].KV.Key) + base64.StdEncoding.EncodedLen(len(ops[n].KV.Value))
			if n > 0 && size > maxBody {
				break
			}
			n++
		}
		if _, err := r.store.commit(ctx, append(r.store.fence(r.session), ops[:n]...)); err != nil {
			return err
		}
		r.done.Changed += n
		ops = ops[n:]
	}
	return nil
}

// reseal is one record as it has to be sealed; the same bytes if it is.
func (s *Store) reseal(path string, sealed []byte) ([]byte, error) {
	switch {
	case path == accountPath:
		return s.resealAccount(sealed)
	case s.leaders != nil && strings.HasPrefix(path, issuancePath):
		return s.resealItem(path, sealed)
	}
	return s.keyring.Reseal(s.fleet, s.key(sealedFor(path)), sealed)
}

// resealAccount brings the account under the leaders' keyring if there is one.
func (s *Store) resealAccount(sealed []byte) ([]byte, error) {
	again, err := s.accountKeyring().Reseal(s.fleet, s.key(accountPath), sealed)
	if s.leaders == nil || !errors.Is(err, seal.ErrUnknownKey) {
		return again, err
	}
	plain, epoch, err := s.keyring.Open(s.fleet, s.key(accountPath), sealed)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	return s.leaders.Seal(s.fleet, s.key(accountPath), epoch, plain)
}

// resealItem has a second envelope to look at, around the private key of an order.
func (s *Store) resealItem(path string, sealed []byte) ([]byte, error) {
	plain, epoch, err := s.keyring.Open(s.fleet, s.key(path), sealed)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	it, err := issuance.Decode(plain)
	if err != nil {
		return nil, err
	}
	if it.Order == nil || s.hidden(it) {
		return s.keyring.Reseal(s.fleet, s.key(path), sealed)
	}
	if it, err = s.showKey(it); err == nil {
		it, err = s.hideKey(it)
	}
	if err != nil {
		return nil, err
	}
	again, err := issuance.Encode(it)
	if err != nil {
		return nil, err
	}
	return s.seal(path, epoch, again)
}

// hidden reports whether the private key of an item's order is sealed with the
// leaders' first key.
func (s *Store) hidden(it issuance.Item) bool {
	key := it.Order.Key.Reveal()
	defer clear(key)
	id, err := seal.SealedWith(key)
	return err == nil && id == s.leaders.Sealing()
}
