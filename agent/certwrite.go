package agent

import (
	"context"
	"errors"
	"maps"
	"runtime/debug"
	"slices"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/handlers"
)

// write brings the files of the names in todo to what is wanted. A name that
// cannot be served keeps what it has and is tried again; the others go on.
func (f *certFollower) write(ctx context.Context) []fleet.Problem {
	if f.demand != nil {
		f.demand.refused.review(&f.known)
	}
	if len(f.todo) == 0 {
		return nil
	}
	if len(f.todo) >= bulk {
		defer debug.SetGCPercent(debug.SetGCPercent(bulkGC))
	}
	if len(f.todo) >= flood {
		f.suspects.floods(true)
		defer f.suspects.floods(false)
	}
	began := time.Now()
	got := f.fetch(ctx)
	maps.DeleteFunc(f.mending.damaged, func(hash fleet.Hash, _ bool) bool { return got.ready[hash] })
	flips, before := map[string]fleet.Hash{}, map[string]fleet.Hash{}
	var change handlers.CertChange
	var drops []string
	for name, hash := range f.todo {
		switch {
		case hash.IsZero():
			drops = append(drops, name)
			if f.served.leave(name) {
				change.Dropped = append(change.Dropped, name)
			}
		case got.added[name] == hash: // done
		case got.ready[hash] || f.kept(name, hash):
			flips[name] = hash
			if have, served := f.served.bundle(name); served && !f.served.leaving(name) {
				before[name] = have
			}
		}
	}
	setErr, dropErr := f.renderer.SetLive(flips), f.renderer.DropLive(drops...)
	err := errors.Join(setErr, dropErr)
	f.settle(flips, drops, err)
	maps.Copy(flips, got.added)
	f.demand.forget(drops)
	for name, hash := range flips {
		switch now, _ := f.served.bundle(name); {
		case now != hash:
			delete(flips, name)
		case !before[name].IsZero():
			change.Replaced = append(change.Replaced, name)
		default:
			change.Added = append(change.Added, name)
		}
	}
	f.issuers.add(f.unsigned(flips, got.full))
	f.log.Info("certificates followed", "epoch", f.head.Epoch, "added", len(change.Added), "replaced", len(change.Replaced),
		"dropped", len(change.Dropped), "waiting", len(f.todo), "took", time.Since(began).Round(time.Microsecond), "err", err)
	if len(flips) < bulk {
		f.after.note(flips, before, change.Dropped, f.hasty(flips))
	} else {
		f.conclude(ctx)
		f.try(ctx, flips, before, f.tell(ctx, change))
		f.publish()
	}
	return f.failures(got.failed, setErr, dropErr)
}

// tell passes on what has changed, if anything has.
func (f *certFollower) tell(ctx context.Context, c handlers.CertChange) certUse {
	if len(c.Added)+len(c.Replaced)+len(c.Dropped) == 0 {
		return certUse{}
	}
	slices.Sort(c.Added)
	slices.Sort(c.Replaced)
	slices.Sort(c.Dropped)
	f.use = f.changed(ctx, c)
	return f.use
}
