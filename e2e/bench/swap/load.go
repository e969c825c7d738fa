package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// perHandshake bounds one handshake.
const perHandshake = 10 * time.Second

// counts is how handshakes ended.
type counts struct {
	done, failed int
	first        error // failure
}

// load makes the handshakes asked for, or fewer if ctx ends.
func load(ctx context.Context, addr string, names []string, o options) counts {
	var c counts
	var mu sync.Mutex
	var clients sync.WaitGroup
	for i := range o.clients {
		clients.Go(func() {
			for j := i; j < o.handshakes && ctx.Err() == nil; j += o.clients {
				err := handshake(ctx, addr, names[j%len(names)])
				mu.Lock()
				c.done++
				if err != nil {
					c.failed++
				}
				if c.first == nil {
					c.first = err
				}
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	return c
}

// handshake is a full one with a server that has to show a certificate of the
// name, and its key.
func handshake(ctx context.Context, addr, name string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), perHandshake)
	defer cancel()
	d := tls.Dialer{Config: &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: name,
		InsecureSkipVerify: true, //nolint:gosec // self-signed; the name is looked at below
		VerifyConnection: func(s tls.ConnectionState) error {
			if names := s.PeerCertificates[0].DNSNames; !slices.Contains(names, name) {
				return fmt.Errorf("certificate of %s for %s", names, name)
			}
			return nil
		},
	}}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return conn.Close()
}

// swapped is how swaps went.
type swapped struct {
	count int
	err   error
}

// swap flips one name after the other at the rate until ctx ends.
func swap(ctx context.Context, rate float64, names []string, turns []map[string]fleet.Hash, flip func(map[string]fleet.Hash) error) (s swapped) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; {
		for due := int(time.Since(began).Seconds() * rate); s.count < due; s.count++ {
			name := names[s.count%len(names)]
			turn := turns[(s.count/len(names)+1)%len(turns)]
			if err := flip(map[string]fleet.Hash{name: turn[name]}); err != nil {
				s.err = errors.Join(fmt.Errorf("swap %d: %w", s.count, err))
				return s
			}
			if ctx.Err() != nil {
				return s
			}
		}
		select {
		case <-ctx.Done():
			return s
		case <-tick.C:
		}
	}
}
