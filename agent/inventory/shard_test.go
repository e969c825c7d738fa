package inventory_test

import (
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

// TestShardOfIsFixed pins where names are stored: another place loses them.
func TestShardOfIsFixed(t *testing.T) {
	for name, want := range map[string]int{"example.org": 939, "*.example.org": 789, "xn--bcher-kva.example": 780} {
		if got := inventory.ShardOf(name); got != want {
			t.Errorf("ShardOf(%s) = %d, want %d", name, got, want)
		}
	}
}

func TestLookupFindsNothing(t *testing.T) {
	names := namesOf(number, 2)
	if got, found := shardOf(t, names[0]).Lookup(names[1]); found || got != (fleet.Entry{}) {
		t.Errorf("Lookup(unknown) = %+v, %t, want none", got, found)
	}
}
