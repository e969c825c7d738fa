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
	shards [inventory.Shards]inventory.Shard
	loaded bool // what the node remembers has been read
	whole  bool // every shard of a head was read: other names have no certificate
}

func (d *directory) put(s inventory.Shard) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shards[s.Number] = s
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

// lookup finds the entry of a name in stored form; it may be a tombstone.
func (d *directory) lookup(name string) (fleet.Entry, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.shards[inventory.ShardOf(name)].Lookup(name)
}

// ifStill calls do if the name has this bundle, and lets no news in meanwhile:
// whoever brings some finds done what do did.
func (d *directory) ifStill(name string, hash fleet.Hash, do func() error) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if e, ok := d.shards[inventory.ShardOf(name)].Lookup(name); !ok || e.Removed || e.Bundle != hash {
		return nil
	}
	return do()
}
