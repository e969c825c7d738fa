package agent

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// headCopy names the node's sealed copy of the inventory's head; the copies of
// shards are named by shardCopy.
const headCopy = "head"

func shardCopy(n int) string { return strconv.Itoa(n) }

// load reads the node's own copies and what is served. A copy that cannot be
// opened is fetched again.
func (f *certFollower) load() {
	f.todo = map[string]fleet.Hash{}
	f.doubts, f.spared, f.lost = map[string]string{}, map[string]fleet.Hash{}, map[int][]string{}
	copies, err := f.renderer.Inventory()
	if err != nil {
		f.log.Error("own copy of the inventory not read in full, reading the rest afresh", "err", err)
	}
	live, err := f.renderer.Live()
	if err != nil {
		f.log.Error("served certificates not read in full", "err", err)
	}
	f.served.reset(live)
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
		f.known.put(s)
		f.head.Shards[n] = s.Epoch
		f.want(s)
	}
	for name, hash := range f.todo {
		if hash.IsZero() {
			f.served.leave(name)
		}
	}
	f.missAll()
	f.publish()
	f.known.ready(f.head.Epoch > 0 && len(inventory.Changed(f.head, head)) == 0)
	if f.demand != nil {
		f.demand.recount()
	}
	f.ledger.dirty = true
	f.keepLedger()
	// The first look finds what an agent before has left, the second removes it.
	f.collected = time.Now()
	f.waste, f.littered = f.collected.Add(f.keep), true
	f.log.Debug("inventory loaded", "epoch", f.head.Epoch, "names", f.served.count(), "waiting", len(f.todo))
}

// settle notes what is served now and drops from todo what is done. After an
// error the disk is asked.
func (f *certFollower) settle(flips map[string]fleet.Hash, dropped []string, err error) {
	if err == nil {
		f.served.change(flips, dropped)
	} else {
		live, readErr := f.renderer.Live()
		if readErr != nil {
			f.log.Error("served certificates not read in full", "err", readErr)
		}
		f.served.reset(live)
		maps.DeleteFunc(flips, func(name string, hash fleet.Hash) bool { return live[name] != hash })
		dropped = slices.DeleteFunc(slices.Clone(dropped), func(name string) bool { _, there := live[name]; return there })
		f.served.change(flips, dropped)
	}
	for name, want := range f.todo {
		have, served := f.served.bundle(name)
		if served != want.IsZero() && have == want && !f.mending.damaged[have] {
			delete(f.todo, name)
		}
	}
	if len(f.todo) == 0 {
		f.todo = map[string]fleet.Hash{} // a map never shrinks
	}
	f.litter()
	f.view.count(f.served.count(), len(f.todo))
}

// litter notes that there may be bundles to collect. What has been waiting is
// not put off by what follows.
func (f *certFollower) litter() {
	f.littered = true
	if f.waste.IsZero() {
		f.waste = time.Now().Add(f.keep)
	}
}

// publish puts what is followed into the node's report.
func (f *certFollower) publish() {
	names, pending := f.served.count(), len(f.todo)
	f.view.update(func() { f.view.inventory, f.view.names, f.view.pending = f.head.Epoch, names, pending })
}

// collectEach is how long after the last collection the next one comes, for each
// name: it reads them all, some 8 µs each, and takes a ten-thousandth of a core so.
const collectEach = 80 * time.Millisecond

// rest is when bundles may be collected again. A disk that may be full and a
// node that keeps only what is asked for cannot wait.
func (f *certFollower) rest() time.Time {
	if f.demand != nil || f.wait > 0 || !f.after.due.IsZero() {
		return time.Time{}
	}
	return f.collected.Add(time.Duration(f.served.count()) * collectEach)
}

// collect removes bundles that nothing has named for long enough.
func (f *certFollower) collect() {
	if f.waste.IsZero() || time.Now().Before(f.waste) || f.after.changes() {
		return // what is left to be done may name more of them
	}
	if rest := f.rest(); time.Now().Before(rest) {
		f.waste = rest
		return
	}
	f.waste = time.Time{}
	f.collected = time.Now()
	n, err := f.renderer.CollectBundles(f.keep, f.ledger.spare()...)
	if err != nil {
		f.log.Warn("replaced certificates not removed", "err", err)
	}
	if err != nil || f.littered {
		f.littered, f.waste = false, time.Now().Add(f.keep)
	}
	if n > 0 {
		f.log.Debug("replaced certificates removed", "bundles", n)
	}
}

// failures are the problems of the names that could not be served.
func (f *certFollower) failures(failed map[fleet.Hash]error, set, drop error) []fleet.Problem {
	out, unwritten := f.unfetched(failed)
	set = errors.Join(unwritten, set)
	if errors.Is(drop, renderer.ErrHeld) {
		out = append(out, fleet.Problem{Code: "certificates-held", Severity: fleet.Warning, Message: drop.Error(),
			Hint: "tried again after the next release; if a file of nginx's is named, take the certificate out of it"})
		drop = nil
	}
	if err := errors.Join(set, drop); err != nil {
		out = append(out, fleet.Problem{Code: "certificates-unwritten", Severity: fleet.Alarm, Message: err.Error(),
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
