package store

import (
	"errors"
	"fmt"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/seal"
)

// What only leaders need is sealed with their own keyring, if the configuration
// has one: the account, and the private keys of orders under way within their
// items. All else of an item can be read with the fleet's keyring, so that
// operators see it.

// accountKeyring seals the account.
func (s *Store) accountKeyring() *seal.Keyring {
	if s.leaders != nil {
		return s.leaders
	}
	return s.keyring
}

// openAccount opens the account with the keyring that sealed it. old says that it
// was the fleet's, although the leaders have one.
func (s *Store) openAccount(sealed []byte) (a issuance.Account, old bool, _ error) {
	decode := func(plain []byte) (issuance.Account, uint64, error) {
		a, err := issuance.DecodeAccount(plain)
		return a, immutable, err
	}
	a, err := openWith(s, s.accountKeyring(), accountPath, sealed, decode)
	if s.leaders != nil && errors.Is(err, seal.ErrUnknownKey) {
		if a, fleetErr := openWith(s, s.keyring, accountPath, sealed, decode); fleetErr == nil {
			return a, true, nil
		}
	}
	if s.leaders == nil && errors.Is(err, seal.ErrUnknownKey) {
		err = fmt.Errorf("%w: or leader.keyring_file is missing in this host's configuration", err)
	}
	return a, false, err
}

// keyPath is what the private key of an item's order is bound to.
func (s *Store) keyPath(it issuance.Item) string { return s.key(itemPath(it.ID())) + "/key" }

// hideKey is the item as it is written: with the leaders' seal on its private key.
func (s *Store) hideKey(it issuance.Item) (issuance.Item, error) {
	if s.leaders == nil || it.Order == nil {
		return it, nil
	}
	plain := it.Order.Key.Reveal()
	defer clear(plain)
	sealed, err := s.leaders.Seal(s.fleet, s.keyPath(it), immutable, plain)
	if err != nil {
		return it, fmt.Errorf("seal key of %s: %w", it, err)
	}
	o := *it.Order
	o.Key = fleet.NewSecret(sealed)
	it.Order = &o
	return it, nil
}

// showKey undoes hideKey. Without the leaders' keyring the key stays as it is,
// good for nothing.
func (s *Store) showKey(it issuance.Item) (issuance.Item, error) {
	if s.leaders == nil || it.Order == nil {
		return it, nil
	}
	key := it.Order.Key.Reveal()
	if !seal.IsSealed(key) {
		return it, nil // written before the leaders had a keyring
	}
	plain, _, err := s.leaders.Open(s.fleet, s.keyPath(it), key)
	if err != nil {
		return it, fmt.Errorf("open key of %s: %w: %w", it, ErrRecord, err)
	}
	o := *it.Order
	o.Key = fleet.NewSecret(plain)
	it.Order = &o
	return it, nil
}
