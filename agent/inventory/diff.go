package inventory

import "github.com/tlsfleet/tlsfleet/agent/fleet"

// Change is what happened to one name between two versions of its shard.
type Change struct {
	Name   string
	Before fleet.Entry // zero: the name is new
	After  fleet.Entry // never zero; Removed: the name is to be taken away
}

// Diff lists what has to be done to follow a shard from one version to
// another, in the order of names. A name that is in before only was not
// removed: it is for Missing to name, not for anyone to delete.
func Diff(before, after Shard) []Change {
	var changes []Change
	for _, e := range after.Entries {
		was, found := before.Lookup(e.Name)
		if !found || !same(was, e) {
			changes = append(changes, Change{Name: e.Name, Before: was, After: e})
		}
	}
	return changes
}

// Missing lists the names that before serves and after does not know, not
// even as tombstones: lost in the store, or removed so long ago that Prune
// dropped the tombstones.
func Missing(before, after Shard) []string {
	var names []string
	for _, e := range before.Entries {
		if _, found := after.search(e.Name); !found && !e.Removed {
			names = append(names, e.Name)
		}
	}
	return names
}

// same compares times as instants.
func same(a, b fleet.Entry) bool {
	if !a.NotAfter.Equal(b.NotAfter) || !a.Changed.Equal(b.Changed) {
		return false
	}
	a.NotAfter, a.Changed = b.NotAfter, b.Changed
	return a == b
}
