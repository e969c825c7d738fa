package store

import (
	"fmt"

	"github.com/tlsfleet/tlsfleet/agent/seal"
)

// immutable is the epoch of records that are never changed: they have the name
// of their contents.
const immutable = 1

// open reads the record of one key, from Consul or from a local copy, with what
// decode makes of its bytes and which epoch it says it has. The error wraps
// ErrRecord and the cause.
func open[T any](s *Store, path string, sealed []byte, decode func(plain []byte) (T, uint64, error)) (T, error) {
	return openWith(s, s.keyring, path, sealed, decode)
}

// openWith is open with another keyring.
func openWith[T any](s *Store, keyring *seal.Keyring, path string, sealed []byte, decode func(plain []byte) (T, uint64, error)) (T, error) {
	var none T
	plain, epoch, err := keyring.Open(s.fleet, s.key(path), sealed)
	if err != nil {
		return none, fmt.Errorf("open %s: %w: %w", path, ErrRecord, err)
	}
	v, own, err := decode(plain)
	if err != nil {
		return none, fmt.Errorf("open %s: %w: %w", path, ErrRecord, err)
	}
	if own != epoch {
		return none, fmt.Errorf("open %s: %w: epoch %d in an envelope of epoch %d", path, ErrRecord, own, epoch)
	}
	return v, nil
}

// seal makes the record of one key.
func (s *Store) seal(path string, epoch uint64, plain []byte) ([]byte, error) {
	sealed, err := s.keyring.Seal(s.fleet, s.key(path), epoch, plain)
	if err != nil {
		return nil, fmt.Errorf("seal record: %w", err)
	}
	return sealed, nil
}
