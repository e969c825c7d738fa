package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Bundle reads a bundle by its hash, with its chain, which the store remembers
// when it was asked for lately. ErrMissing if one of the two is not there,
// ErrRecord if it is refused or is not what the hash says.
func (s *Store) Bundle(ctx context.Context, hash fleet.Hash) (bundle.Bundle, error) {
	pair, err := s.findImmutable(ctx, bundlePath(hash))
	if err != nil {
		return bundle.Bundle{}, err
	}
	return s.bundleOf(new(bundle.Series), hash, pair, func(chain fleet.Hash) ([][]byte, error) { return s.chain(ctx, chain) })
}

// Bundles is Bundle for many in few requests. The bundles that cannot be had
// are in the second map, and the others are read all the same; the error is for
// what ends the reading. All of them are in memory at once: the caller bounds
// their number.
func (s *Store) Bundles(ctx context.Context, hashes []fleet.Hash) (map[fleet.Hash]bundle.Bundle, map[fleet.Hash]error, error) {
	good, bad := map[fleet.Hash]bundle.Bundle{}, map[fleet.Hash]error{}
	if len(hashes) == 1 {
		if b, err := s.Bundle(ctx, hashes[0]); err == nil {
			good[hashes[0]] = b
			return good, bad, nil
		}
	}
	paths := make([]string, len(hashes))
	for i, hash := range hashes {
		paths[i] = bundlePath(hash)
	}
	chain := s.chainOnce(ctx)
	var series bundle.Series
	err := s.getAll(ctx, paths, func(i int, pair *api.KVPair, err error) {
		var b bundle.Bundle
		if err == nil {
			b, err = s.bundleOf(&series, hashes[i], pair, chain)
		}
		if err != nil {
			bad[hashes[i]] = err
			return
		}
		good[hashes[i]] = b
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read bundles: %w", err)
	}
	return good, bad, nil
}

// bundleOf opens a bundle's record, with its chain from chainOf.
func (s *Store) bundleOf(series *bundle.Series, hash fleet.Hash, pair *api.KVPair, chainOf func(fleet.Hash) ([][]byte, error)) (bundle.Bundle, error) {
	path := bundlePath(hash)
	plain, err := open(s, path, pair.Value, func(plain []byte) ([]byte, uint64, error) { return plain, immutable, nil })
	if err != nil {
		return bundle.Bundle{}, err
	}
	chainHash, err := bundle.RecordChain(plain)
	if err == nil && bundle.RecordHash(plain) != hash {
		err = errOtherHash
	}
	if err != nil {
		return bundle.Bundle{}, fmt.Errorf("open %s: %w: %w", path, ErrRecord, err)
	}
	chain, err := chainOf(chainHash)
	if err != nil {
		return bundle.Bundle{}, fmt.Errorf("chain of %s: %w", path, err)
	}
	b, err := series.Decode(plain, chain)
	if err != nil {
		return bundle.Bundle{}, fmt.Errorf("open %s: %w: %w", path, ErrRecord, err)
	}
	return b, nil
}

// errOtherHash is a record that was sealed for a name it does not have.
var errOtherHash = errors.New("its contents have another hash")

// sealBundle makes the record of a bundle with this hash, without its chain.
func (s *Store) sealBundle(hash fleet.Hash, b bundle.Bundle) ([]byte, error) {
	plain, err := bundle.Encode(b)
	if err != nil {
		return nil, err
	}
	return s.seal(bundlePath(hash), immutable, plain)
}
