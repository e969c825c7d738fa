package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

func TestEditInventoryOneNameIsOneTransaction(t *testing.T) {
	w := shared(t)
	if _, err := w.Head(t.Context()); !errors.Is(err, store.ErrMissing) {
		t.Fatalf("Head() of a new fleet = %v, want %v", err, store.ErrMissing)
	}
	count := counted(t, w)
	cert := certificate(t, "www.example.com")
	for i, want := range []store.Edited{{Epoch: 1, Added: 1}, {Epoch: 1, Unchanged: 1}} {
		got := count.edit(t, put(cert))
		if got != want {
			t.Errorf("EditInventory() the %d. time = %+v, want %+v", i+1, got, want)
		}
		if n := count.writes(); n != 1 {
			t.Errorf("%d transactions after the %d. time, want 1", n, i+1)
		}
	}
	hash := bundle.Hash(cert.Bundle)
	if got := w.served(t); len(got) != 1 || got["www.example.com"] != hash {
		t.Errorf("the inventory has %v, want www.example.com with %s", got, hash)
	}
	got, err := w.Bundle(t.Context(), hash)
	if err != nil || bundle.Hash(got) != hash || !got.Key.Equal(cert.Bundle.Key) || len(got.Chain) != 1 {
		t.Errorf("Bundle() = %v, %v, want what was put", got, err)
	}
}

func TestEditInventoryReplacesAndRemoves(t *testing.T) {
	w := shared(t)
	w.edit(t, put(certificate(t, "a.example.com"), certificate(t, "b.example.com")))
	next := certificate(t, "a.example.com")
	got := w.edit(t, store.Edit{Put: []store.Certificate{next}, Remove: []string{"b.example.com", "c.example.com"}, Now: time.Now()})
	if want := (store.Edited{Epoch: 2, Replaced: 1, Removed: 1, Unchanged: 1}); got != want {
		t.Errorf("EditInventory() = %+v, want %+v", got, want)
	}
	if got := w.served(t); len(got) != 1 || got["a.example.com"] != bundle.Hash(next.Bundle) {
		t.Errorf("the inventory has %v, want the new a.example.com alone", got)
	}
	if got, want := w.edit(t, remove("b.example.com")), (store.Edited{Epoch: 2, Unchanged: 1}); got != want {
		t.Errorf("EditInventory() again = %+v, want %+v", got, want)
	}
	if got, want := w.edit(t, put(certificate(t, "b.example.com"))), (store.Edited{Epoch: 3, Added: 1}); got != want {
		t.Errorf("EditInventory() of a removed name = %+v, want %+v", got, want)
	}
}

func TestEditInventoryPutsAndRemovesInOneShard(t *testing.T) {
	w := shared(t)
	names := sameShard(2)
	w.edit(t, put(certificate(t, names[0])))
	got := w.edit(t, store.Edit{Put: []store.Certificate{certificate(t, names[1])}, Remove: names[:1], Now: time.Now()})
	if want := (store.Edited{Epoch: 2, Added: 1, Removed: 1}); got != want {
		t.Errorf("EditInventory() = %+v, want %+v", got, want)
	}
	if got := w.served(t); len(got) != 1 || got[names[1]].IsZero() {
		t.Errorf("the inventory has %v, want %s alone", got, names[1])
	}
}

// sameShard finds n names of one shard.
func sameShard(n int) []string {
	var names []string
	for i := 0; len(names) < n; i++ {
		if name := fmt.Sprintf("n%d.example.org", i); inventory.ShardOf(name) == 7 {
			names = append(names, name)
		}
	}
	return names
}

func TestEditInventoryEmpty(t *testing.T) {
	w := shared(t)
	if got, want := w.edit(t, store.Edit{}), (store.Edited{}); got != want {
		t.Errorf("EditInventory() of nothing = %+v, want %+v", got, want)
	}
	if got, want := w.edit(t, remove("a.example.com")), (store.Edited{Unchanged: 1}); got != want {
		t.Errorf("EditInventory() = %+v, want %+v", got, want)
	}
	if w.index(t, "inventory/head") != 0 {
		t.Error("an edit that changes nothing made a head")
	}
}

func TestEditInventoryRefusesContradictions(t *testing.T) {
	w := shared(t)
	one := certificate(t, "a.example.com")
	tests := map[string]store.Edit{
		"two bundles":      put(one, certificate(t, "a.example.com")),
		"put and removed":  {Put: []store.Certificate{one}, Remove: one.Names, Now: time.Now()},
		"no name":          put(store.Certificate{Bundle: one.Bundle, Entry: one.Entry}),
		"upper case":       put(store.Certificate{Bundle: one.Bundle, Names: []string{"A.example.com"}, Entry: one.Entry}),
		"path":             put(store.Certificate{Bundle: one.Bundle, Names: []string{"../a.example.com"}, Entry: one.Entry}),
		"removed path":     remove("../a.example.com"),
		"one bad of two":   put(one, store.Certificate{Bundle: one.Bundle, Names: []string{"a..com"}, Entry: one.Entry}),
		"no time at all":   {Put: []store.Certificate{one}},
		"no end":           put(store.Certificate{Bundle: one.Bundle, Names: one.Names}),
		"no bundle's leaf": put(store.Certificate{Names: one.Names, Entry: one.Entry}),
	}
	for name, e := range tests {
		t.Run(name, func(t *testing.T) {
			if got, err := w.EditInventory(t.Context(), e, "", nil); err == nil {
				t.Errorf("EditInventory() = %+v, nil, want an error", got)
			}
			if w.index(t, "inventory/head") != 0 {
				t.Error("a head was written")
			}
		})
	}
}
