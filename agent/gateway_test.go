package agent

import (
	"errors"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/status"
)

// TestGatewayKeepsQuarantine asks for certificates that this node took back:
// with nothing to go back to there is none, and none is fetched.
func TestGatewayKeepsQuarantine(t *testing.T) {
	const name = "bad.test"
	bad := bundleNo(1)
	for mode, tt := range map[string]struct {
		demand *demand
		live   map[string]fleet.Hash
		have   fleet.Hash
		want   error
	}{
		"not here":                              {nil, nil, fleet.Hash{}, status.ErrUnusable},
		"not here, on demand":                   {&demand{}, nil, fleet.Hash{}, status.ErrUnusable},
		"not here, on demand, the client's own": {&demand{}, nil, bad, status.ErrUnusable},
		"still here":                            {nil, map[string]fleet.Hash{name: bad}, fleet.Hash{}, status.ErrNotNow},
		"still here, the client's own":          {nil, map[string]fleet.Hash{name: bad}, bad, status.ErrNotNow},
	} {
		t.Run(mode, func(t *testing.T) {
			served, known := &served{}, &directory{}
			served.reset(tt.live)
			known.put(inventory.Shard{Number: inventory.ShardOf(name), Epoch: 1, Entries: []fleet.Entry{{Name: name, Bundle: bad}}})
			known.ready(true)
			known.bar(map[string]fleet.Hash{name: bad})
			g := &gateway{log: hclog.NewNullLogger(), served: served, known: known, demand: tt.demand}
			if _, err := g.Certificate(t.Context(), name, tt.have); !errors.Is(err, tt.want) {
				t.Errorf("Certificate(%s) = %v, want %v", name, err, tt.want)
			}
		})
	}
}

// TestBarredBundleIsNotKept has a bundle go into quarantine while it is fetched.
func TestBarredBundleIsNotKept(t *testing.T) {
	var d directory
	const name = "bad.test"
	d.put(inventory.Shard{Number: inventory.ShardOf(name), Epoch: 1, Entries: []fleet.Entry{{Name: name, Bundle: bundleNo(1)}}})
	for what, tt := range map[string]struct {
		barred fleet.Hash
		want   bool
	}{"nothing": {fleet.Hash{}, true}, "this one": {bundleNo(1), false}, "the one before": {bundleNo(2), true}} {
		t.Run(what, func(t *testing.T) {
			d.bar(map[string]fleet.Hash{name: tt.barred})
			done := false
			if err := d.ifStill(name, bundleNo(1), func() error { done = true; return nil }); err != nil || done != tt.want {
				t.Errorf("ifStill() with %s barred = %v, done %t, want %t", what, err, done, tt.want)
			}
		})
	}
}
