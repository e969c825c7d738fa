package agent

import (
	"maps"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

// TestIndexIsLikeAMap has few shards with several names each, some of which
// begin like others.
func TestIndexIsLikeAMap(t *testing.T) {
	var pool []string
	for i := 0; len(pool) < 60; i++ {
		if name := strconv.Itoa(i); inventory.ShardOf(name) < 6 {
			pool = append(pool, name)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		var x index
		want := map[string]fleet.Hash{}
		name, hash := rapid.SampledFrom(pool), rapid.Map(rapid.Byte(), func(b byte) fleet.Hash { return fleet.Hash{b} })
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				n, h := name.Draw(t, "name"), hash.Draw(t, "hash")
				x.put(n, h)
				want[n] = h
			},
			"drop": func(t *rapid.T) {
				n := name.Draw(t, "name")
				x.drop(n)
				delete(want, n)
			},
			"compact": func(*rapid.T) { x.compact() },
			"replace": func(t *rapid.T) {
				of := inventory.ShardOf(name.Draw(t, "name"))
				maps.DeleteFunc(want, func(n string, _ fleet.Hash) bool { return inventory.ShardOf(n) == of })
				some := map[string]fleet.Hash{}
				for _, n := range pool {
					if inventory.ShardOf(n) == of && rapid.Bool().Draw(t, n) {
						some[n] = hash.Draw(t, "hash")
					}
				}
				maps.Copy(want, some)
				x.replace(of, func(yield func(string, fleet.Hash) bool) {
					for _, n := range slices.Sorted(maps.Keys(some)) {
						if !yield(n, some[n]) {
							return
						}
					}
				})
			},
			"": func(t *rapid.T) {
				if got := maps.Collect(x.all()); !maps.Equal(got, want) || x.count != len(want) {
					t.Fatalf("all() = %v and count %d, want %v", got, x.count, want)
				}
				n := name.Draw(t, "name")
				got, found := x.get(n)
				if h, is := want[n]; got != h || found != is {
					t.Fatalf("get(%s) = %v, %t, want %v, %t", n, got, found, h, is)
				}
			},
		})
	})
}
