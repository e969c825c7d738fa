package agent

import "time"

// evict makes room on a node that keeps only what was asked for, in steps: what
// is evicted is on disk until it is collected, so the next step waits for that.
// What nginx loads when it starts stays, as if it had been asked for.
func (f *certFollower) evict() {
	if f.demand == nil || !f.demand.kept.full() {
		return
	}
	if !f.evicted.IsZero() && f.collected.Sub(f.evicted) < f.keep {
		f.litter()
		return
	}
	f.demand.recount()
	names := f.demand.kept.surplus()
	err := f.renderer.DropLive(names...)
	for _, name := range names {
		f.demand.kept.drop(name)
	}
	f.settle(nil, names, err)
	f.evicted = time.Now()
	f.demand.recount()
	for _, name := range names {
		if _, stays := f.served.bundle(name); !stays {
			delete(f.todo, name)
		}
	}
	f.log.Info("certificates that nothing asked for lately evicted", "names", len(names), "left", f.served.count(), "err", err)
}
