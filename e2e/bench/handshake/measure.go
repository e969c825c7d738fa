package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/tlsfleet/tlsfleet/e2e/bench/rig"
	"github.com/tlsfleet/tlsfleet/e2e/lab"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// cached is the mode variable with ssl_certificate_cache.
const cached = "variable+cache"

// limit bounds one mode with one number of names.
const limit = 8 * time.Minute

// servers is what a mode renders, without names.
func servers(mode string) (renderer.TLSServers, bool) {
	switch mode {
	case "static":
		return renderer.TLSServers{Mode: renderer.TLSStatic}, true
	case "variable":
		return renderer.TLSServers{Mode: renderer.TLSVariable, Names: renderer.NamesListed}, true
	case cached:
		return renderer.TLSServers{Mode: renderer.TLSVariable, Names: renderer.NamesListed, Cache: true}, true
	}
	return renderer.TLSServers{}, false
}

// measure prints the line of one mode.
func measure(ctx context.Context, p *lab.Program, o options, mode string, n int) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r, err := rig.New(p, nil)
	if err != nil {
		return err
	}
	s, _ := servers(mode)
	version, err := r.NginxVersion(ctx)
	if err != nil {
		return err
	}
	if _, has := renderer.PickTLSMode(version, math.MaxInt); s.Cache && !has {
		p.Logf("  %s: nginx %s has no certificate cache", mode, version)
		return nil
	}
	for i := range n {
		s.List = append(s.List, fmt.Sprintf("n%05d.test", i))
	}
	if err := live(p, r, s.List); err != nil {
		return err
	}
	if _, err := r.Serve(ctx, s); err != nil {
		return err
	}
	// The second has the first one's memory to let go of, as any reload in service.
	reload, err := r.Serve(ctx, s)
	if err != nil {
		return err
	}
	master := r.Node.Nginx.PID()
	worker, err := onlyWorker(ctx, master)
	if err != nil {
		return err
	}
	memory, err := proportional(master, worker)
	if err != nil {
		return err
	}
	hot := s.List[:min(o.hot, n)]
	full, err := cost(worker, o.handshakes, func() error { return handshakes(ctx, r.Addr, hot, nil, o) })
	if err != nil {
		return err
	}
	tickets, err := take(ctx, r.Addr, hot)
	if err != nil {
		return err
	}
	resumed, err := cost(worker, o.handshakes, func() error { return handshakes(ctx, r.Addr, hot, tickets, o) })
	if err != nil {
		return err
	}
	fmt.Printf("bench=handshake who=%s full_us=%d resumed_us=%d reload_ms=%d rss_mib=%d n=%d\n",
		mode, full.Microseconds(), resumed.Microseconds(), reload.Milliseconds(), memory>>20, n)
	return nil
}

// live stores certificates in batches and makes them live.
func live(p *lab.Program, r *rig.Rig, names []string) error {
	const batch = 1000
	for part := range slices.Chunk(names, batch) {
		hashes, err := r.Store(p, part)
		if err != nil {
			return err
		}
		if err := r.SetLive(hashes); err != nil {
			return err
		}
	}
	return nil
}

// cost is the worker's CPU time for one of so many handshakes.
func cost(worker, handshakes int, do func() error) (time.Duration, error) {
	before, err := cpu(worker)
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	after, err := cpu(worker)
	return (after - before) / time.Duration(handshakes), err
}
