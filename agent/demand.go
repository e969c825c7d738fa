package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/status"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// demandTimeout is how long a handshake waits for a certificate from Consul.
const demandTimeout = 2 * time.Second

// demand fetches the certificates that are asked for and not here, in mode
// on_demand, and keeps them as far as there is room. The follower renews and
// drops what is kept, and evicts.
type demand struct {
	log      hclog.Logger
	renderer *renderer.Renderer
	served   *served
	known    *directory
	obtain   func(ctx context.Context, hash fleet.Hash) (bundle.Bundle, error) // from Consul, checked
	kept     *kept
	news     wake // given when something more is kept, or should be
	refused  refusals

	flights singleflight.Group
	slots   *semaphore.Weighted
}

// newDemand keeps at most bound bytes for the follower, besides what it fetches
// itself.
func newDemand(f *certFollower, bound int64, log hclog.Logger) *demand {
	return &demand{
		log: log, renderer: f.renderer, served: &f.served, known: &f.known, obtain: f.checked,
		kept: newKept(bound), news: newWake(), refused: refusals{problems: f.problems}, slots: semaphore.NewWeighted(fetchers),
	}
}

// fetch returns the bundle of a name from Consul, once for all who ask for the
// name at a time, and keeps it. Errors wrap status.ErrNotNow if it may be there
// later, and status.ErrUnusable if what is there is no use.
func (d *demand) fetch(ctx context.Context, name string, hash fleet.Hash) (bundle.Bundle, error) {
	if err := d.refused.recent(hash, time.Now()); err != nil {
		return bundle.Bundle{}, err
	}
	flight := d.flights.DoChan(name+" "+hash.String(), func() (any, error) {
		// Others wait for it too, so it does not end with this client.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), demandTimeout)
		defer cancel()
		return d.bring(ctx, name, hash)
	})
	select {
	case <-ctx.Done():
		return bundle.Bundle{}, fmt.Errorf("%w: %w", status.ErrNotNow, ctx.Err())
	case r := <-flight:
		if r.Err != nil {
			return bundle.Bundle{}, r.Err
		}
		return r.Val.(bundle.Bundle), nil //nolint:errcheck,forcetypeassert // what bring returns
	}
}

func (d *demand) bring(ctx context.Context, name string, hash fleet.Hash) (bundle.Bundle, error) {
	if have, here := d.served.bundle(name); here && have == hash { // by the flight before
		if b, err := d.renderer.ReadBundle(hash); err == nil {
			return b, nil
		}
	}
	if err := d.slots.Acquire(ctx, 1); err != nil {
		return bundle.Bundle{}, fmt.Errorf("%w: too many certificates are being fetched", status.ErrNotNow)
	}
	defer d.slots.Release(1)
	began := time.Now()
	b, err := d.obtain(ctx, hash)
	if err != nil {
		err = d.refused.note(name, hash, classed(err), time.Now())
		d.log.Warn("certificate asked for not fetched", "name", name, "err", err)
		return bundle.Bundle{}, err
	}
	d.refused.forget(hash)
	kept, err := d.keep(name, hash, b)
	d.log.Info("certificate asked for fetched", "name", name, "bundle", hash, "kept", kept, "took", time.Since(began).Round(time.Microsecond), "err", err)
	return b, nil
}

// keep writes a bundle to disk for the name, if there is room.
func (d *demand) keep(name string, hash fleet.Hash, b bundle.Bundle) (kept bool, err error) {
	size := renderer.DiskSize(len(bundle.FullchainPEM(b)), bundle.KeyPEM(b).Len())
	defer d.news.give()
	if !d.kept.add(name, size) {
		return false, nil
	}
	if err = d.renderer.PutBundle(hash, b); err == nil {
		err = d.renderer.SetVerified(hash) // obtain has checked it in full
	}
	if err == nil {
		err = d.known.ifStill(name, hash, func() error {
			if err := d.renderer.SetLive(map[string]fleet.Hash{name: hash}); err != nil {
				return err
			}
			d.served.change(map[string]fleet.Hash{name: hash}, nil)
			kept = true
			return nil
		})
	}
	if !kept {
		d.kept.drop(name)
	}
	return kept, err
}

// classed says what an error of Consul or of a certificate means to a client.
func classed(err error) error {
	if errors.Is(err, store.ErrMissing) || errors.Is(err, store.ErrRecord) || errors.Is(err, bundle.ErrBundle) {
		return fmt.Errorf("%w: %w", status.ErrUnusable, err)
	}
	return fmt.Errorf("%w: %w", status.ErrNotNow, err)
}

// forget takes removed names out of what is kept. d may be nil.
func (d *demand) forget(names []string) {
	if d == nil {
		return
	}
	for _, name := range names {
		if _, still := d.served.bundle(name); !still {
			d.kept.drop(name)
		}
	}
}

// recount measures what is served, for the bound.
func (d *demand) recount() {
	for name, hash := range d.served.all() {
		size, err := d.renderer.BundleSize(hash)
		if err != nil {
			d.log.Debug("kept certificate not measured", "name", name, "err", err)
			continue
		}
		d.kept.set(name, size)
	}
}
