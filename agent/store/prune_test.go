package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// entry is what a shard in Consul has for a name.
func (w world) entry(t *testing.T, name string) (fleet.Entry, bool) {
	t.Helper()
	records, bad, err := w.Shards(t.Context(), []int{inventory.ShardOf(name)})
	if err != nil || len(bad) > 0 {
		t.Fatalf("Shards() = %v, %v", bad, err)
	}
	return records[0].Shard.Lookup(name)
}

func TestPruneTakesOldTombstonesOnly(t *testing.T) {
	w := shared(t)
	old, late, live := certificate(t, "old.example.com"), certificate(t, "late.example.com"), certificate(t, "live.example.com")
	now := time.Now()
	first := put(old, late, live)
	first.Now = now.Add(-3 * time.Hour) // what is served is older than any tombstone
	w.edit(t, first)
	gone := remove("old.example.com")
	gone.Now = now.Add(-2 * time.Hour)
	w.edit(t, gone)
	w.edit(t, remove("late.example.com"))
	before, err := w.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n, err := w.Prune(t.Context(), now.Add(-time.Hour), "no-session"); n != 0 || !errors.Is(err, store.ErrFenced) {
		t.Errorf("Prune() without the lock = %d, %v, want %v", n, err, store.ErrFenced)
	}
	session := w.lead(t, "a")
	if n, err := w.Prune(t.Context(), now.Add(-time.Hour), session); n != 1 || err != nil {
		t.Errorf("Prune() = %d, %v, want 1", n, err)
	}
	after, err := w.Head(t.Context())
	if err != nil || after.Head.Epoch != before.Head.Epoch+1 || after.Head.Names != 1 {
		t.Errorf("head = epoch %d with %d names, %v, want epoch %d with 1", after.Head.Epoch, after.Head.Names, err, before.Head.Epoch+1)
	}
	if e, found := w.entry(t, "old.example.com"); found {
		t.Errorf("old.example.com = %+v, want nothing", e)
	}
	if e, found := w.entry(t, "late.example.com"); !found || !e.Removed {
		t.Errorf("late.example.com = %+v, %t, want its tombstone", e, found)
	}
	if e, found := w.entry(t, "live.example.com"); !found || e.Removed {
		t.Errorf("live.example.com = %+v, %t, want it as it was", e, found)
	}
	if n, err := w.Prune(t.Context(), now.Add(-time.Hour), session); n != 0 || err != nil {
		t.Errorf("Prune() again = %d, %v, want 0", n, err)
	}
}

// TestPruneIsBounded removes more than one round takes.
func TestPruneIsBounded(t *testing.T) {
	w := shared(t)
	certs := many(t, 300, "example.com")
	w.edit(t, put(certs...))
	var names []string
	for _, c := range certs {
		names = append(names, c.Names...)
	}
	w.edit(t, remove(names...))
	session := w.lead(t, "a")
	count, rounds := 0, 0
	for ; rounds < 100; rounds++ {
		n, err := w.Prune(t.Context(), time.Now().Add(time.Hour), session)
		if err != nil {
			t.Fatalf("Prune() = %v", err)
		}
		if n == 0 {
			break
		}
		count += n
	}
	if count != len(names) || rounds < 3 {
		t.Errorf("Prune() = %d tombstones in %d rounds, want %d in at least 3", count, rounds, len(names))
	}
	w.edit(t, put(certs[0]))
	w.expect(t, certs[:1])
}
