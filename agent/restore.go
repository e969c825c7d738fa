package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/handlers"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// Restored says what Restore made ready.
type Restored struct {
	Mode   fleet.Mode `json:"mode"`
	Epoch  uint64     `json:"epoch"`
	Source string     `json:"source"` // "consul", "local copy", "none"
	Note   string     `json:"note,omitempty"`
}

// Restore makes this host ready for a start of nginx, whose key files are gone
// after a reboot: the ring from Consul if it answers within wait, else the
// sealed local copy, else a release with nginx's own keys. It signals nobody.
func Restore(ctx context.Context, cfg config.Config, wait time.Duration, o Options) (res Restored, err error) {
	st, err := openStore(cfg, o.Log)
	if err != nil {
		return Restored{}, err
	}
	r, err := openRenderer(cfg, o)
	if err != nil {
		return Restored{}, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	b := boot{store: st, renderer: r, cfg: cfg}
	local, localErr := b.local()
	if localErr != nil {
		o.Log.Error("local copy of the ring not usable", "err", localErr)
	}
	rec, remoteErr := b.remote(ctx, wait, local)
	if remoteErr == nil {
		rel := renderer.Release{Mode: fleet.ModeRing, Ring: rec.Ring, Sealed: rec.Sealed, Reason: "restore at boot"}
		if remoteErr = b.place(ctx, rel); remoteErr == nil {
			return Restored{Mode: fleet.ModeRing, Epoch: rec.Ring.Epoch, Source: "consul"}, nil
		}
	}
	o.Log.Warn("ring from consul not used", "err", remoteErr)
	if local != nil && !handlers.Stale(openContact(cfg.StateDir, time.Now()).at, time.Now(), cfg.Ticket.StaleAfter) {
		return Restored{Mode: fleet.ModeRing, Epoch: local.Epoch, Source: "local copy", Note: remoteErr.Error()}, nil
	}
	return b.perHost(ctx, remoteErr, localErr)
}

// boot is one run of Restore.
type boot struct {
	store    *store.Store
	renderer *renderer.Renderer
	cfg      config.Config
}

// local writes the key files of the active release, so that whatever happens
// next nginx can start from it. It returns nil if there is no such ring.
func (b boot) local() (*fleet.Ring, error) {
	active, err := b.renderer.Active()
	if err != nil || len(active.Sealed) == 0 {
		return nil, err
	}
	ring, err := b.store.OpenRing(active.Sealed)
	if err != nil {
		return nil, err
	}
	return &ring, b.renderer.WriteKeys(ring)
}

// remote reads the ring from Consul and checks that this node may use it.
func (b boot) remote(ctx context.Context, wait time.Duration, local *fleet.Ring) (store.RingRecord, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	rec, err := b.store.Ring(ctx)
	if err != nil {
		return rec, err
	}
	high, err := b.renderer.HighWater()
	if err != nil {
		return rec, err
	}
	s := handlers.NodeState{HighWater: high}
	if local != nil {
		s.Mode, s.Epoch, s.Key = fleet.ModeRing, local.Epoch, local.Current.Name()
	}
	if _, err := handlers.PlanRing(s, rec.Ring); err != nil {
		return rec, err
	}
	return rec, b.renderer.SetHighWater(rec.Ring.Epoch)
}

// place makes the release active unless it is so already.
func (b boot) place(ctx context.Context, rel renderer.Release) error {
	active, err := b.renderer.Active()
	if err != nil {
		return err
	}
	if active.Mode == fleet.ModeRing && active.Epoch == rel.Ring.Epoch {
		return b.renderer.WriteKeys(rel.Ring)
	}
	return b.renderer.Restore(ctx, rel)
}

// perHost is the last resort: nginx starts, with keys shared with nobody.
func (b boot) perHost(ctx context.Context, causes ...error) (Restored, error) {
	note := "no ring could be used: " + errors.Join(causes...).Error()
	active, err := b.renderer.Active()
	if err != nil {
		return Restored{}, err
	}
	res := Restored{Mode: fleet.ModePerHost, Source: "none", Note: note}
	if active.Mode == fleet.ModePerHost {
		return res, nil
	}
	if err := b.renderer.Restore(ctx, renderer.Release{Mode: fleet.ModePerHost, Reason: "restore at boot: " + note}); err != nil {
		return Restored{}, fmt.Errorf("fall back to keys of this host: %w", err)
	}
	return res, nil
}
