package store

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/consul"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

// Items calls each with every item of the issuance journal, a page of some
// hundred at a time, so that neither memory nor one answer grows with their
// number. Records that are refused are in the map by ID, and the others are read
// all the same; the error is for what ends the reading.
func (s *Store) Items(ctx context.Context, each func(issuance.Item)) (bad map[string]error, _ error) {
	bad = map[string]error{}
	for page := range 256 {
		if err := s.itemPage(ctx, fmt.Sprintf("%s%02x/", issuancePath, page), each, bad); err != nil {
			return bad, fmt.Errorf("read items: %w", err)
		}
	}
	return bad, nil
}

func (s *Store) itemPage(ctx context.Context, prefix string, each func(issuance.Item), bad map[string]error) error {
	q, cancel := read(ctx)
	defer cancel()
	pairs, meta, err := s.client.KV().List(s.key(prefix), q)
	if err == nil {
		err = consul.Vouched(meta)
	}
	if err != nil {
		return denied(err)
	}
	for _, pair := range pairs {
		id := strings.TrimPrefix(pair.Key, s.key(prefix))
		it, err := s.openItem(id, pair.Value)
		if err != nil {
			bad[id] = err
			continue
		}
		each(it)
	}
	return nil
}

// Item reads one item. ErrMissing if there is none, ErrRecord if it is refused.
func (s *Store) Item(ctx context.Context, id string) (issuance.Item, error) {
	q, cancel := read(ctx)
	defer cancel()
	pair, _, err := s.find(itemPath(id), q)
	if err != nil {
		return issuance.Item{}, err
	}
	return s.openItem(id, pair.Value)
}

// HasItems says which items there are, whatever is in them.
func (s *Store) HasItems(ctx context.Context, ids []string) (map[string]bool, error) {
	paths := make([]string, len(ids))
	for i, id := range ids {
		paths[i] = itemPath(id)
	}
	has := make(map[string]bool, len(ids))
	var denied error
	err := s.getAll(ctx, paths, func(i int, _ *api.KVPair, err error) {
		has[ids[i]] = err == nil
		if err != nil && !errors.Is(err, ErrMissing) {
			denied = err
		}
	})
	if err = errors.Join(err, denied); err != nil {
		return nil, fmt.Errorf("look for items: %w", err)
	}
	return has, nil
}

// ItemsOf calls each with those of the items that there are, in the order of
// their IDs. Records that are refused are in the map by ID; the error is for what
// ends the reading.
func (s *Store) ItemsOf(ctx context.Context, ids []string, each func(issuance.Item)) (bad map[string]error, _ error) {
	bad = map[string]error{}
	paths := make([]string, len(ids))
	for i, id := range ids {
		paths[i] = itemPath(id)
	}
	err := s.getAll(ctx, paths, func(i int, pair *api.KVPair, err error) {
		var it issuance.Item
		if err == nil {
			it, err = s.openItem(ids[i], pair.Value)
		}
		switch {
		case err == nil:
			each(it)
		case !errors.Is(err, ErrMissing):
			bad[ids[i]] = err
		}
	})
	if err != nil {
		return bad, fmt.Errorf("read items: %w", err)
	}
	return bad, nil
}

// openItem opens an item's record, which has to be that of the names it is for.
func (s *Store) openItem(id string, sealed []byte) (issuance.Item, error) {
	it, err := open(s, itemPath(id), sealed, func(plain []byte) (issuance.Item, uint64, error) {
		it, err := issuance.Decode(plain)
		if err != nil {
			return it, 0, err
		}
		return it, itemEpoch(it), nil
	})
	if err == nil && it.ID() != id {
		err = fmt.Errorf("open %s: %w: it is for other names", itemPath(id), ErrRecord)
	}
	if err != nil {
		return it, err
	}
	return s.showKey(it)
}

// itemEpoch is the version of an item: only the leader writes it, and its lock
// is what orders the writes.
func itemEpoch(it issuance.Item) uint64 { return uint64(max(it.Changed.Unix(), 1)) } //nolint:gosec // not negative

// PutItems writes items in as few transactions as they fit in. The session has
// to hold the leader lock (ErrFenced). The items of a transaction are written
// together; after an error the first ones may have been.
func (s *Store) PutItems(ctx context.Context, items []issuance.Item, session string) error {
	ops, size := s.fence(session), frameBody
	for i, it := range items {
		op, bytes, err := s.itemOp(it)
		if err != nil {
			return fmt.Errorf("put item %s: %w", it, err)
		}
		if len(ops) == maxOps || size+bytes > maxBody {
			if _, err := s.commit(ctx, ops); err != nil {
				return fmt.Errorf("put items before %s, the %dth: %w", it, i+1, err)
			}
			ops, size = s.fence(session), frameBody
		}
		ops, size = append(ops, op), size+bytes
	}
	if len(items) == 0 {
		return nil
	}
	if _, err := s.commit(ctx, ops); err != nil {
		return fmt.Errorf("put items: %w", err)
	}
	return nil
}

// itemOp is the write of one item, and its bytes in a transaction's body.
func (s *Store) itemOp(it issuance.Item) (*api.TxnOp, int, error) {
	hidden, err := s.hideKey(it)
	if err != nil {
		return nil, 0, err
	}
	plain, err := issuance.Encode(hidden)
	if err != nil {
		return nil, 0, err
	}
	path := itemPath(it.ID())
	sealed, err := s.seal(path, itemEpoch(it), plain)
	if err != nil {
		return nil, 0, err
	}
	key := s.key(path)
	op := &api.TxnOp{KV: &api.KVTxnOp{Verb: api.KVSet, Key: key, Value: sealed}}
	return op, opBody + len(key) + base64.StdEncoding.EncodedLen(len(sealed)), nil
}

// DropItems deletes items. The session has to hold the leader lock (ErrFenced).
func (s *Store) DropItems(ctx context.Context, ids []string, session string) error {
	return s.drops(ctx, ids, itemPath, session)
}

// drops deletes records, as many at a time as a transaction takes.
func (s *Store) drops(ctx context.Context, ids []string, path func(id string) string, session string) error {
	for len(ids) > 0 {
		n := min(len(ids), maxOps-1)
		ops := s.fence(session)
		for _, id := range ids[:n] {
			ops = append(ops, &api.TxnOp{KV: &api.KVTxnOp{Verb: api.KVDelete, Key: s.key(path(id))}})
		}
		if _, err := s.commit(ctx, ops); err != nil {
			return fmt.Errorf("delete %s and %d more: %w", path(ids[0]), n-1, err)
		}
		ids = ids[n:]
	}
	return nil
}
