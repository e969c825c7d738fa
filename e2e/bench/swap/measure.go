package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/e2e/bench/rig"
	"github.com/tlsfleet/tlsfleet/e2e/lab"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// Contestants.
const (
	plainName    = "plain-symlink"
	tlsfleetName = "tlsfleet"
)

// versions is how many certificates of a name take turns.
const versions = 8

// plain is what is written by hand: chain and key by the link of the name.
func plain(addr, live string) string {
	return fmt.Sprintf(`map $ssl_server_name $bench_name {
		default _none;
		"~^(?!.*\.\.)(?<bench_sni>[a-z0-9_][a-z0-9._-]*)$" $bench_sni;
	}
	server { listen %[1]s ssl default_server; ssl_reject_handshake on; }
	server {
		listen %[1]s ssl;
		server_name ~^;
		ssl_certificate %[2]s/$bench_name/fullchain.pem;
		ssl_certificate_key %[2]s/$bench_name/privkey.pem;
	}`, addr, live)
}

// start is a contestant with all certificates in the store and the first ones
// live.
func start(ctx context.Context, p *lab.Program, who string, names []string) (*rig.Rig, []map[string]fleet.Hash, error) {
	http := plain
	if who == tlsfleetName {
		http = nil
	}
	r, err := rig.New(p, http)
	if err != nil {
		return nil, nil, err
	}
	turns := make([]map[string]fleet.Hash, versions)
	for i := range turns {
		if turns[i], err = r.Store(p, names); err != nil {
			return nil, nil, err
		}
	}
	if err := r.SetLive(turns[0]); err != nil || who != tlsfleetName {
		return r, turns, err
	}
	_, err = r.Serve(ctx, renderer.TLSServers{Mode: renderer.TLSVariable, Names: renderer.NamesOpen})
	return r, turns, err
}

// measure prints the line of one contestant.
func measure(ctx context.Context, p *lab.Program, o options, who string) error {
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	var names []string
	for i := range o.names {
		names = append(names, fmt.Sprintf("n%d.test", i))
	}
	r, turns, err := start(ctx, p, who, names)
	if err != nil {
		return err
	}
	before, err := r.Node.Reloads()
	if err != nil {
		return err
	}
	loaded, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan swapped, 1)
	go func() { ended <- swap(loaded, o.rate, names, turns, r.SetLive) }()
	began := time.Now()
	c := load(ctx, r.Addr, names, o)
	took := time.Since(began)
	stop()
	s := <-ended
	after, err := r.Node.Reloads()
	if err := errors.Join(err, s.err); err != nil {
		return err
	}
	fmt.Printf("bench=swap who=%s handshakes=%d failed=%d swaps=%d reloads=%d\n", who, c.done, c.failed, s.count, after-before)
	p.Logf("  %s: %.1f %% failed, %.0f handshakes and %.0f swaps a second", who,
		100*float64(c.failed)/float64(max(c.done, 1)), float64(c.done)/took.Seconds(), float64(s.count)/took.Seconds())
	if c.first != nil {
		p.Logf("  first failure: %v", c.first)
	}
	if who != tlsfleetName {
		return nil
	}
	return promises(o, c, s.count, after-before, took)
}

// slack is the share of the swap rate that may be missing.
const slack = 0.1

// promises is what tlsfleet has to keep.
func promises(o options, c counts, swaps, reloads int, took time.Duration) error {
	var errs []error
	if c.failed > 0 {
		errs = append(errs, fmt.Errorf("%d of %d handshakes failed, want 0", c.failed, c.done))
	}
	if c.done < o.handshakes {
		errs = append(errs, fmt.Errorf("only %d handshakes of %d in %s", c.done, o.handshakes, took.Round(time.Second)))
	}
	if reloads > 0 {
		errs = append(errs, fmt.Errorf("%d reloads, want 0", reloads))
	}
	if least := o.rate * took.Seconds() * (1 - slack); float64(swaps) < least {
		errs = append(errs, fmt.Errorf("only %d swaps, want at least %.0f", swaps, least))
	}
	return errors.Join(errs...)
}
