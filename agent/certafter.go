package agent

import (
	"context"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/handlers"
)

// afterQuiet is how long what a change of files brings with it is put off, so
// that it is done once for several, and not while other nodes wait for Consul.
const afterQuiet = 250 * time.Millisecond

// A certChangeKind is how the files of a name have changed.
type certChangeKind int

const (
	certAdded certChangeKind = iota
	certReplaced
	certDropped
)

// aftermath is what is still to be done for files that have changed: ask for a
// reload where nginx needs it, put bundles on trial, keep the head. An agent
// that is killed before finds the head older than the shards when it starts.
type aftermath struct {
	due    time.Time // zero: nothing
	kinds  map[string]certChangeKind
	flips  map[string]fleet.Hash // what the names are served with now
	before map[string]fleet.Hash // what they were before the first change
	head   []byte                // sealed, to be kept; nil: none
}

// put sets when it is due: not later than it was.
func (a *aftermath) put(off time.Duration) {
	due := time.Now().Add(off)
	if a.due.IsZero() {
		a.kinds, a.flips, a.before = map[string]certChangeKind{}, map[string]fleet.Hash{}, map[string]fleet.Hash{}
	}
	if a.due.IsZero() || due.Before(a.due) {
		a.due = due
	}
}

// note adds changes: what names are served with from now on, what those that
// were served had before, and names that go.
func (a *aftermath) note(flips, before map[string]fleet.Hash, drops []string, hasty bool) {
	if len(flips)+len(drops) == 0 {
		return
	}
	a.put(afterQuiet)
	if hasty {
		a.put(0)
	}
	for name, hash := range flips {
		_, known := a.flips[name]
		a.flips[name] = hash
		switch was := before[name]; {
		case was.IsZero():
			a.kinds[name] = certAdded
		case !known:
			a.kinds[name], a.before[name] = certReplaced, was
		}
	}
	for _, name := range drops {
		a.kinds[name] = certDropped
		delete(a.flips, name)
		delete(a.before, name)
	}
}

// follow notes that a head was followed whose copy is to be kept.
func (a *aftermath) follow(sealed []byte) {
	a.put(afterQuiet)
	a.head = sealed
}

// changes reports whether there are changes among what is to be done.
func (a *aftermath) changes() bool { return len(a.kinds) > 0 }

func (a *aftermath) change() handlers.CertChange {
	var c handlers.CertChange
	for name, kind := range a.kinds {
		switch kind {
		case certAdded:
			c.Added = append(c.Added, name)
		case certReplaced:
			c.Replaced = append(c.Replaced, name)
		case certDropped:
			c.Dropped = append(c.Dropped, name)
		}
	}
	return c
}

// hasty reports whether what follows a change is not to be put off: nginx may
// load these files when it starts, so they are to be tested at once.
func (f *certFollower) hasty(flips map[string]fleet.Hash) bool {
	if f.use.held == nil {
		return true // it was not looked at so far
	}
	for name := range flips {
		if f.use.held[name] {
			return true
		}
	}
	return false
}

// finish does what is due.
func (f *certFollower) finish(ctx context.Context) {
	if !time.Now().Before(f.after.due) {
		f.conclude(ctx)
	}
}

// conclude does what is left to be done, due or not.
func (f *certFollower) conclude(ctx context.Context) {
	if f.after.due.IsZero() || ctx.Err() != nil {
		return
	}
	a := f.after
	f.after = aftermath{}
	for name, hash := range a.flips {
		if now, _ := f.served.bundle(name); now != hash {
			delete(a.flips, name)
		}
	}
	f.try(ctx, a.flips, a.before, f.tell(ctx, a.change()))
	f.keepHead(a.head)
	f.publish()
}

// keepHead makes the copies of what was followed durable, the head last: as
// long as it is older than the shards, something is left to be done for them.
func (f *certFollower) keepHead(sealed []byte) {
	if sealed == nil {
		return
	}
	err := f.renderer.SyncInventory()
	if err == nil {
		err = f.renderer.SaveInventory(map[string][]byte{headCopy: sealed})
	}
	if err == nil {
		f.problems.replace("inventory-copy")
		return
	}
	f.problems.replace("inventory-copy", unsaved(err))
	f.after.put(certRetry)
	f.after.head = sealed
}

// unfinished are the names of shards that are newer than the copy of the head:
// the agent may have ended before it had done what their change brings with it.
func (f *certFollower) unfinished() map[string]fleet.Hash {
	names := map[string]fleet.Hash{}
	for n, epoch := range f.head.Shards {
		if epoch <= f.head.Epoch {
			continue
		}
		for _, e := range f.known.shard(n).Entries {
			have, served := f.served.bundle(e.Name)
			_, tried := f.ledger.Trials[e.Name]
			_, barred := f.ledger.Quarantine[e.Name]
			if served && have == e.Bundle && !tried && !barred {
				names[e.Name] = have
			}
		}
	}
	return names
}
