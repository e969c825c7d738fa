package agent

import (
	"fmt"
	"slices"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

// miss notes which of some names of a shard it does not know, not even as
// removed.
func (f *certFollower) miss(s inventory.Shard, names []string) {
	delete(f.lost, s.Number)
	for _, name := range names {
		if _, known := s.Lookup(name); !known {
			f.lost[s.Number] = append(f.lost[s.Number], name)
		}
	}
}

// missAll is miss for every name that is served here, of shards that are known.
func (f *certFollower) missAll() {
	for _, name := range f.served.names() {
		n := inventory.ShardOf(name)
		if _, known := f.known.lookup(name); f.head.Shards[n] > 0 && !known {
			f.lost[n] = append(f.lost[n], name)
		}
	}
}

// vanished is one problem about all names that are missed.
func (f *certFollower) vanished() []fleet.Problem {
	if len(f.lost) == 0 {
		return nil
	}
	names := slices.Sorted(func(yield func(string) bool) {
		for _, some := range f.lost {
			for _, name := range some {
				if !yield(name) {
					return
				}
			}
		}
	})
	return []fleet.Problem{{Code: "names-lost", Severity: fleet.Alarm,
		Message: fmt.Sprintf("%d names vanished from the inventory without being removed, %s first: keeping them", len(names), names[0]),
		Hint:    "import them again; to be rid of them, remove them after that by tlsfleet cert remove"}}
}
