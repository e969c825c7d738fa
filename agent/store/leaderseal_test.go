package store_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// leading is the same fleet, seen by a host with a leaders' keyring.
func (w world) leading(t *testing.T, leaders *seal.Keyring) *store.Store {
	t.Helper()
	s, err := store.Open(store.Config{Address: w.addr, Fleet: w.name, Leaders: leaders}, w.keyring)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func keyring(t *testing.T) *seal.Keyring {
	t.Helper()
	k, err := seal.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestLeadersKeyringMovesTheAccount: what the fleet's keyring has sealed opens, and
// once it is written again only leaders can open it.
func TestLeadersKeyringMovesTheAccount(t *testing.T) {
	w := shared(t)
	session := w.lead(t, "a")
	first, err := w.PutAccount(t.Context(), account("one"), 0, session)
	if err != nil {
		t.Fatal(err)
	}
	l := w.leading(t, keyring(t))
	rec, err := l.Account(t.Context())
	if err != nil || !rec.Old || !rec.Account.Key.Equal(first.Account.Key) {
		t.Fatalf("Account() with a leaders' keyring = %+v, %v, want the old one to be written again", rec, err)
	}
	if _, err := l.PutAccount(t.Context(), rec.Account, rec.Index, session); err != nil {
		t.Fatal(err)
	}
	if rec, err = l.Account(t.Context()); err != nil || rec.Old || !rec.Account.Key.Equal(first.Account.Key) {
		t.Errorf("Account() after that = %+v, %v, want it not old", rec, err)
	}
	for name, other := range map[string]*store.Store{"the fleet's": w.Store, "another leaders'": w.leading(t, keyring(t))} {
		if _, err := other.Account(t.Context()); !errors.Is(err, store.ErrRecord) || !errors.Is(err, seal.ErrUnknownKey) {
			t.Errorf("Account() with %s keyring = %v, want %v", name, err, seal.ErrUnknownKey)
		}
	}
}

// TestLeadersKeyringHidesKeysOfOrders: everybody with the fleet's keyring sees an
// item, and only leaders its private key.
func TestLeadersKeyringHidesKeysOfOrders(t *testing.T) {
	w := shared(t)
	session := w.lead(t, "a")
	secret := []byte("the private key")
	item := func(name string) issuance.Item {
		now := time.Now()
		it, err := issuance.New([]string{name}, "", "", now)
		if err == nil {
			it, err = it.Begin(now)
		}
		if err == nil {
			it, err = it.Place(issuance.Order{CA: "ca", Key: fleet.NewSecret(secret), CSR: []byte("csr")}, now)
		}
		if err != nil {
			t.Fatal(err)
		}
		return it
	}
	l := w.leading(t, keyring(t))
	before, after := item("before.test"), item("after.test")
	if err := errors.Join(w.PutItems(t.Context(), []issuance.Item{before}, session), l.PutItems(t.Context(), []issuance.Item{after}, session)); err != nil {
		t.Fatal(err)
	}
	for _, it := range []issuance.Item{before, after} {
		got, err := l.Item(t.Context(), it.ID())
		if err != nil || !got.Order.Key.Equal(it.Order.Key) {
			t.Errorf("Item(%s) of a leader = %+v, %v, want its key", it, got, err)
		}
	}
	got, err := w.Item(t.Context(), after.ID())
	if err != nil || got.State != issuance.Ordering || bytes.Contains(got.Order.Key.Reveal(), secret) {
		t.Errorf("Item() without the leaders' keyring = %+v, %v, want it without its key", got, err)
	}
	if _, err := w.leading(t, keyring(t)).Item(t.Context(), after.ID()); !errors.Is(err, seal.ErrUnknownKey) {
		t.Errorf("Item() with another leaders' keyring = %v, want %v", err, seal.ErrUnknownKey)
	}
	// The key of one order is no good in the item of another.
	moved := item("moved.test")
	o := *got.Order
	moved.Order = &o
	if err := w.PutItems(t.Context(), []issuance.Item{moved}, session); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Item(t.Context(), moved.ID()); !errors.Is(err, seal.ErrForged) {
		t.Errorf("Item() with the key of another = %v, want %v", err, seal.ErrForged)
	}
}
