package agent

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// How the leader takes away bundles in Consul that no name is served with any
// more. A new leader begins to count anew.
const (
	tidyEvery = 10 * time.Minute
	tidyGrace = time.Hour // nodes that are behind may still fetch them
)

// tidy removes orphaned bundles for as long as this node leads.
type tidy struct {
	log   hclog.Logger
	store *store.Store
	since map[fleet.Hash]time.Time // when a bundle was first seen without a name
}

// Run looks again and again until ctx, which lasts as long as the lease, ends.
func (t *tidy) Run(ctx context.Context, session string) {
	t.since = map[fleet.Hash]time.Time{}
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := t.look(ctx, session, time.Now()); err != nil && ctx.Err() == nil {
			t.log.Warn("bundles without a name not removed", "err", err)
		}
	}
}

// look removes the bundles that were orphans for the whole grace time.
func (t *tidy) look(ctx context.Context, session string, now time.Time) error {
	if _, err := t.store.Head(ctx); err != nil {
		return ignoreMissing(err)
	}
	orphans, err := t.store.Orphans(ctx)
	if err != nil {
		return err
	}
	dropped, err := t.store.DropBundles(ctx, t.ripe(orphans, now), session)
	if dropped > 0 {
		t.log.Info("bundles without a name removed", "bundles", dropped)
	}
	return err
}

// ripe are the orphans that were so for long enough; the others are noted.
func (t *tidy) ripe(orphans []fleet.Hash, now time.Time) []fleet.Hash {
	seen := make(map[fleet.Hash]time.Time, len(orphans))
	var ripe []fleet.Hash
	for _, hash := range orphans {
		first, known := t.since[hash]
		if !known {
			first = now
		}
		seen[hash] = first
		if now.Sub(first) >= tidyGrace {
			ripe = append(ripe, hash)
		}
	}
	t.since = seen
	return ripe
}
