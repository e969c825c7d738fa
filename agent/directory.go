package agent

import (
	"sync"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

// directory is what the followed inventory says of each name, for readers
// beside the follower. The zero value knows nothing.
type directory struct {
	mu     sync.RWMutex
	names  index                      // with the zero hash of those that are removed
	ends   [inventory.Shards][]uint32 // when they end, in the order of names: Unix minutes, 0 for those that are removed
	loaded bool                       // what the node remembers has been read
	whole  bool                       // every shard of a head was read: other names have no certificate
	barred map[string]fleet.Hash
}

func (d *directory) put(s inventory.Shard) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.names.replace(s.Number, func(yield func(string, fleet.Hash) bool) {
		for _, e := range s.Entries {
			if !yield(e.Name, e.Bundle) {
				return
			}
		}
	})
	ends := make([]uint32, len(s.Entries))
	for i, e := range s.Entries {
		if !e.Removed {
			ends[i] = minutes(e.NotAfter)
		}
	}
	d.ends[s.Number] = ends
}

// shard is what was put, as far as it is kept: of an entry only what lookup has.
func (d *directory) shard(n int) inventory.Shard {
	d.mu.RLock()
	defer d.mu.RUnlock()
	s := inventory.Shard{Number: n}
	for name, hash := range d.names.shard(n) {
		s.Entries = append(s.Entries, entryOf(name, hash))
	}
	return s
}

// ready says that what the node remembers is there, and whether that is all of
// an inventory. Once whole, a directory stays so.
func (d *directory) ready(whole bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.loaded, d.whole = true, d.whole || whole
}

func (d *directory) state() (loaded, whole bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.loaded, d.whole
}

// bar sets the bundles that names are not served with on this node, whatever
// the inventory says.
func (d *directory) bar(bundles map[string]fleet.Hash) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.barred = bundles
}

// bars reports whether a name is not served with a bundle on this node.
func (d *directory) bars(name string, hash fleet.Hash) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	barred, ok := d.barred[name]
	return ok && barred == hash
}

// lookup finds the entry of a name in stored form; it may be a tombstone. Only
// Name, Bundle and Removed are set.
func (d *directory) lookup(name string) (fleet.Entry, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	hash, ok := d.names.get(name)
	if !ok {
		return fleet.Entry{}, false
	}
	return entryOf(name, hash), true
}

func entryOf(name string, hash fleet.Hash) fleet.Entry {
	return fleet.Entry{Name: name, Bundle: hash, Removed: hash.IsZero()}
}

// ifStill calls do if the name has this bundle and may be served with it, and lets no news in meanwhile:
// whoever brings some finds done what do did.
func (d *directory) ifStill(name string, hash fleet.Hash, do func() error) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if have, ok := d.names.get(name); !ok || hash.IsZero() || have != hash || d.barred[name] == hash {
		return nil
	}
	return do()
}
