package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

// headCopy names the node's sealed copy of the inventory's head; the copies of
// shards are named by shardCopy.
const headCopy = "head"

func shardCopy(n int) string { return strconv.Itoa(n) }

// load reads the node's own copies and what is served. A copy that cannot be
// opened is fetched again.
func (f *certFollower) load(ctx context.Context) error {
	f.shards, f.todo = map[int]inventory.Shard{}, map[string]fleet.Entry{}
	copies, err := f.renderer.Inventory()
	if err != nil {
		return fmt.Errorf("read the node's inventory: %w", err)
	}
	if f.live, err = f.renderer.Live(); err != nil {
		return fmt.Errorf("read the node's certificates: %w", err)
	}
	head, err := f.store.OpenHead(copies[headCopy])
	if err == nil {
		f.head.Epoch, f.head.Names = head.Epoch, head.Names
	} else if copies[headCopy] != nil {
		f.log.Warn("own copy of the inventory refused, reading it afresh", "err", err)
	}
	for n := range inventory.Shards {
		sealed, ok := copies[shardCopy(n)]
		if !ok {
			continue
		}
		s, err := f.store.OpenShard(n, sealed)
		if err != nil {
			f.log.Warn("own copy of a shard refused, reading it afresh", "shard", n, "err", err)
			continue
		}
		f.shards[n] = s
		f.head.Shards[n] = s.Epoch
		f.want(s)
	}
	f.publish()
	f.log.Debug("inventory loaded", "epoch", f.head.Epoch, "names", len(f.live), "waiting", len(f.todo))
	return ctx.Err()
}

// settle takes from disk what is served now and drops from todo what is done.
func (f *certFollower) settle() {
	live, err := f.renderer.Live()
	if err != nil {
		f.log.Error("served certificates unreadable", "err", err)
		return
	}
	f.live = live
	for name, e := range f.todo {
		have, served := live[name]
		if served != e.Removed && (e.Removed || have == e.Bundle) {
			delete(f.todo, name)
		}
	}
	f.publish()
}

// publish makes the served names known to releases.
func (f *certFollower) publish() {
	names := slices.Sorted(maps.Keys(f.live))
	f.mu.Lock()
	f.names = names
	f.mu.Unlock()
	f.view.update(func() { f.view.inventory, f.view.names = f.head.Epoch, len(names) })
}

// Names are the names served now, sorted.
func (f *certFollower) Names() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.names
}

// collect removes bundles that nothing has named for long enough.
func (f *certFollower) collect() {
	n, err := f.renderer.CollectBundles(f.keep)
	if err != nil {
		f.log.Warn("replaced certificates not removed", "err", err)
	}
	if n > 0 {
		f.log.Debug("replaced certificates removed", "bundles", n)
	}
}

// failures are the problems of the names that could not be served.
func (f *certFollower) failures(failed map[fleet.Hash]error, written error) []fleet.Problem {
	var out []fleet.Problem
	for _, name := range slices.Sorted(maps.Keys(f.todo)) {
		if err := failed[f.todo[name].Bundle]; err != nil {
			out = append(out, fleet.Problem{Code: "certificate-refused", Severity: fleet.Alarm,
				Message: fmt.Sprintf("%s keeps what it had, and %d other names with it: %v", name, len(f.todo)-1, err),
				Hint:    "import the certificate again"})
			break
		}
	}
	if written != nil {
		out = append(out, fleet.Problem{Code: "certificates-unwritten", Severity: fleet.Alarm, Message: written.Error(),
			Hint: "check the disk under state_dir"})
	}
	return out
}

func unsaved(err error) fleet.Problem {
	return fleet.Problem{Code: "inventory-unsaved", Severity: fleet.Alarm, Message: err.Error(), Hint: "check the disk under state_dir"}
}

func refusedInventory(err error) fleet.Problem {
	return fleet.Problem{Code: "inventory-refused", Severity: fleet.Alarm, Message: err.Error(),
		Hint: "every certificate stays; if the loss is meant, raise max_loss_percent in the certificates block until it is followed"}
}
