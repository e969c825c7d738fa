package renderer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Viewer reads what a Renderer keeps on this host and what nginx is configured
// to do. It takes no lock and changes nothing, so it works beside an agent.
type Viewer struct{ r *Renderer }

// NewViewer checks the configuration. Nothing needs to be there yet.
func NewViewer(cfg Config) (*Viewer, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return &Viewer{&Renderer{cfg: cfg}}, nil
}

// Active is Renderer.Active.
func (v *Viewer) Active() (Active, error) { return v.r.Active() }

// HighWater is Renderer.HighWater.
func (v *Viewer) HighWater() (uint64, error) { return v.r.HighWater() }

// Live is Renderer.Live.
func (v *Viewer) Live() (map[string]fleet.Hash, error) { return v.r.Live() }

// Inventory is Renderer.Inventory; a node that has no copy yet is fine.
func (v *Viewer) Inventory() (map[string][]byte, error) {
	records, err := v.r.Inventory()
	if errors.Is(err, fs.ErrNotExist) && records == nil {
		return nil, nil
	}
	return records, err
}

// Inspect is Renderer.Inspect.
func (v *Viewer) Inspect(ctx context.Context) (Inspection, error) { return v.r.Inspect(ctx) }

// Outdated is Renderer.Outdated.
func (v *Viewer) Outdated(want TLSServers, answers Challenges) (string, error) {
	return v.r.Outdated(want, answers)
}

// Running reports whether nginx runs. The error wraps ErrNotNginx when the pid
// file names something else, as an nginx with another configuration file.
func (v *Viewer) Running(ctx context.Context) (bool, error) {
	_, err := v.r.master(ctx)
	if errors.Is(err, errNotRunning) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for nginx: %w", err)
	}
	return true, nil
}
