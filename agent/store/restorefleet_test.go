package store_test

import (
	"fmt"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/store"
)

// TestRestoreFleetWritesTheAccountLast has more of a journal than one transaction
// holds: a leader that finds the account finds all that was ordered with it.
func TestRestoreFleetWritesTheAccountLast(t *testing.T) {
	t.Parallel()
	w := shared(t)
	items := map[string][]byte{}
	for i := range 200 {
		items[fmt.Sprintf("%064x", i)] = []byte("sealed")
	}
	singles := map[string][]byte{}
	for _, path := range store.SinglePaths() {
		singles[path] = []byte("sealed")
	}
	done, err := w.RestoreFleet(t.Context(), store.FleetCopy{Singles: singles, Items: items}, nil)
	if err != nil || done.Items != len(items) {
		t.Fatalf("RestoreFleet() = %+v, %v, want %d items", done, err, len(items))
	}
	last := uint64(0)
	for id := range items {
		index := w.index(t, store.ItemPath(id))
		if index == 0 {
			t.Fatalf("item %s is not in Consul", id)
		}
		last = max(last, index)
	}
	for path := range singles {
		if got := w.index(t, path); got < last {
			t.Errorf("%s was written at index %d, want it after the journal's last at %d", path, got, last)
		}
	}
}
