package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// watchEvery is the pause between two handshakes of a watch with one node: how
// exact its times are.
const watchEvery = 20 * time.Millisecond

// watch makes full handshakes for one name all the time, with each node and
// through the balancer, and knows which certificate it was shown when.
type watch struct {
	name   string
	roots  *x509.CertPool
	ways   []func(ctx context.Context) (net.Conn, error) // one for each node, then the balancer
	record func(node int, a lab.Attempt)                 // every handshake once must is set
	must   atomic.Bool                                   // the name is served everywhere: handshakes have to succeed
	stop   func()

	mu    sync.Mutex
	first []map[string]time.Time // by way: when a certificate was first shown
}

// startWatch watches until stop is called or ctx ends.
func (s *stage) startWatch(ctx context.Context, name string, roots *x509.CertPool, record func(node int, a lab.Attempt)) *watch {
	w := &watch{name: name, roots: roots, record: record}
	for i := range s.fleet.Nodes {
		w.ways = append(w.ways, s.fleet.Direct(i))
	}
	w.ways = append(w.ways, s.fleet.RoundRobin(0))
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for i := range w.ways {
		w.first = append(w.first, map[string]time.Time{})
		wg.Go(func() { w.visit(ctx, i) })
	}
	w.stop = func() {
		cancel()
		wg.Wait()
	}
	return w
}

func (w *watch) visit(ctx context.Context, way int) {
	for n := 0; ; n++ {
		must := w.must.Load()
		// A handshake that has begun is finished and counted.
		a := w.connect(context.WithoutCancel(ctx), way, n)
		w.note(way, a)
		if must {
			w.record(way, a)
		}
		if sleep(ctx, watchEvery) != nil {
			return
		}
	}
}

// connect is a client's first connection, TLS 1.2 and 1.3 in turn.
func (w *watch) connect(ctx context.Context, way, n int) lab.Attempt {
	return lab.NewClient(tlsVersion(n), w.name, w.roots, w.ways[way]).Connect(ctx)
}

func tlsVersion(n int) uint16 {
	if n%2 == 1 {
		return tls.VersionTLS12
	}
	return tls.VersionTLS13
}

func (w *watch) note(way int, a lab.Attempt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, seen := w.first[way][a.Serial]; !seen {
		w.first[way][a.Serial] = a.At
	}
}

// shown is when each node showed a certificate first; fewer than nodes if some
// have not yet.
func (w *watch) shown(serial string) []time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	var at []time.Time
	for _, first := range w.first[:len(w.first)-1] {
		if t, ok := first[serial]; ok {
			at = append(at, t)
		}
	}
	return at
}

// other is a certificate that a node has shown and that is not the old one;
// empty if there is none yet.
func (w *watch) other(old string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, first := range w.first {
		for serial := range first {
			if serial != old && serial != "" {
				return serial
			}
		}
	}
	return ""
}

// awaitShown waits until every node has shown the certificate, and looks
// through the balancer as often as there are nodes: none may show another one.
// From then on handshakes have to succeed.
func (s *stage) awaitShown(ctx context.Context, w *watch, serial string) ([]time.Time, error) {
	if err := s.await(ctx, "the certificate of "+w.name+" on all nodes", func() (bool, error) {
		return len(w.shown(serial)) == nodes, nil
	}); err != nil {
		return nil, err
	}
	for n := range nodes {
		if a := w.connect(ctx, nodes, n); a.Serial != serial {
			return nil, fmt.Errorf("connect to %s through the balancer: certificate %q, want %s: %w", w.name, a.Serial, serial, a.Err)
		}
	}
	w.must.Store(true)
	return w.shown(serial), nil
}
