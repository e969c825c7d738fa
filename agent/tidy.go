package agent

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/handlers"
)

// How the leader takes away bundles in Consul that no name is served with any
// more. A new leader begins to count anew.
const (
	tidyEvery = 10 * time.Minute
	tidyGrace = time.Hour // nodes that are behind may still fetch them
)

// How the leader takes tombstones out of the inventory. A node that was out of
// service for longer, or is restored from an older copy, keeps what was removed
// meanwhile, with an alarm.
const (
	pruneEvery = time.Hour
	pruneGrace = 30 * 24 * time.Hour
)

// tidy removes orphaned bundles and old tombstones for as long as this node leads.
type tidy struct {
	log   hclog.Logger
	store *store.Store
	since map[fleet.Hash]time.Time // when a bundle was first seen without a name

	pruned time.Time // when tombstones were looked for last
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
		if err := t.prune(ctx, session, time.Now()); err != nil && ctx.Err() == nil {
			t.log.Warn("old tombstones not removed", "err", err)
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

// prune removes tombstones that every node in service has followed for long.
func (t *tidy) prune(ctx context.Context, session string, now time.Time) error {
	if now.Sub(t.pruned) < pruneEvery {
		return nil
	}
	t.pruned = now
	head, err := t.store.Head(ctx)
	if err != nil {
		return ignoreMissing(err)
	}
	nodes, err := t.store.Nodes(ctx)
	if err != nil {
		return err
	}
	reports, _, err := t.store.Reports(ctx)
	if err != nil {
		return err
	}
	if why := handlers.PruneBlocked(head.Head.Epoch, nodes, reports); why != "" {
		t.log.Debug("tombstones stay", "reason", why)
		return nil
	}
	n, err := t.store.Prune(ctx, now.Add(-pruneGrace), session)
	if n > 0 {
		t.log.Info("old tombstones removed", "names", n)
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
