package inventory

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Shards is how many shards an inventory has. It is part of where a name is
// stored and never changes.
const Shards = 1024

// MaxEntries is how many entries one shard holds, tombstones included.
const MaxEntries = 1 << 15

// ShardOf is the number of the shard that a name in stored form belongs to.
func ShardOf(name string) int {
	sum := sha256.Sum256([]byte(name))
	return int(binary.BigEndian.Uint16(sum[:]) % Shards)
}

// Shard is one version of the part of the inventory that ShardOf puts
// together. A Shard is never changed in place. Shard{Number: n} is the one
// before the first version.
type Shard struct {
	Number  int           // 0 to Shards-1
	Epoch   uint64        // of the head that this version came with
	Entries []fleet.Entry // sorted by name, each name once
}

// Lookup finds the entry of a name in stored form; it may be a tombstone.
func (s Shard) Lookup(name string) (fleet.Entry, bool) {
	i, found := s.search(name)
	if !found {
		return fleet.Entry{}, false
	}
	return s.Entries[i], true
}

// Live is the number of names in the shard without tombstones.
func (s Shard) Live() int {
	live := 0
	for _, e := range s.Entries {
		if !e.Removed {
			live++
		}
	}
	return live
}

func (s Shard) search(name string) (int, bool) {
	return slices.BinarySearchFunc(s.Entries, name, func(e fleet.Entry, name string) int {
		return strings.Compare(e.Name, name)
	})
}

// set changes s in place: only for a shard that is being made.
func (s *Shard) set(e fleet.Entry) {
	i, found := s.search(e.Name)
	if !found {
		s.Entries = slices.Insert(s.Entries, i, fleet.Entry{})
	}
	s.Entries[i] = e
}
