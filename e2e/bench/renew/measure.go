package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

const (
	nodes       = 3
	serveLimit  = 2 * time.Minute
	look        = 2 * time.Millisecond
	certificate = "/certZ/" // where Pebble gives certificates out
)

// scene is a fleet with certificates of a Pebble.
type scene struct {
	*lab.Fleet
	*lab.Agents
	roots *x509.CertPool

	mu       sync.Mutex
	answered time.Time // when the CA last gave out a certificate
}

// measure renews one certificate after the other.
func measure(ctx context.Context, p *lab.Program, o options) (figure, error) {
	f := figure{nodes: nodes}
	s, err := newScene(ctx, p, o)
	if err != nil {
		return f, err
	}
	names := make([]string, o.names)
	for i := range names {
		names[i] = fmt.Sprintf("n%d.test", i)
	}
	if err := s.AddDomains(ctx, names); err != nil {
		return f, err
	}
	serials := map[string]string{}
	for _, name := range names {
		if serials[name], err = s.served(ctx, name, ""); err != nil {
			return f, err
		}
	}
	before, err := s.Reloads()
	if err != nil {
		return f, err
	}
	for n := range o.renewals {
		name := names[n%len(names)]
		asked := time.Now()
		if err := s.RenewDomain(ctx, name); err != nil {
			return f, err
		}
		if serials[name], err = s.served(ctx, name, serials[name]); err != nil {
			return f, err
		}
		now := time.Now()
		f.asked, f.answered = append(f.asked, now.Sub(asked)), append(f.answered, now.Sub(s.last()))
	}
	after, err := s.Reloads()
	for i := range after {
		f.reloads += after[i] - before[i]
	}
	return f, err
}

func newScene(ctx context.Context, p *lab.Program, o options) (*scene, error) {
	consul := testkit.Consul(p, testkit.ConsulDev())
	ca := testkit.Pebble(p, testkit.PebbleOptions{HTTPPort: testkit.FreePort(p, "127.0.0.1")})
	proxy, directory := ca.Proxy(p)
	s := &scene{Fleet: lab.NewFleet(p, nodes), roots: ca.IssuingRoots(p)} //nolint:contextcheck // a kit's call, bounded
	proxy.Set(testkit.Rule{Method: http.MethodPost, Path: certificate, Fault: s.note})
	for _, n := range s.Nodes {
		n.Nginx.Start(p)
	}
	ca.SetDefaultAddress(p, s.Nodes[0].Nginx.Address) //nolint:contextcheck // a kit's call, bounded
	var err error
	s.Agents, err = s.StartAgents(ctx, p, lab.AgentOptions{
		Binary: o.tlsfleet, Consul: consul.Addr, Splay: time.Second, MinInterval: time.Second, Certificates: true,
		CA: &lab.CA{Directory: directory, RootFile: ca.RootFile, HTTPPort: ca.HTTPPort, Resolver: ca.DNS, Unlimited: true},
	})
	if err != nil {
		return nil, err
	}
	return s, s.AwaitChallenges(ctx, ca.HTTPPort)
}

// note passes a certificate on and takes the time.
func (s *scene) note(w http.ResponseWriter, r *http.Request, pass http.Handler) {
	s.mu.Lock()
	s.answered = time.Now()
	s.mu.Unlock()
	pass.ServeHTTP(w, r)
}

func (s *scene) last() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answered
}

// served waits until every node shows another certificate than an old one, and
// returns the serial number of the new.
func (s *scene) served(ctx context.Context, name, old string) (string, error) {
	serials := make([]string, len(s.Nodes))
	g, ctx := errgroup.WithContext(ctx)
	for i, n := range s.Nodes {
		g.Go(func() error {
			return lab.Until(ctx, serveLimit, look, func() error {
				// A client of its own each time: a resumed handshake shows nothing.
				a := lab.NewClient(tls.VersionTLS13, name, s.roots, s.Direct(i)).Connect(ctx)
				if a.Err == nil && a.Serial == old {
					a.Err = fmt.Errorf("%s still shows %s for %s", n.Name, old, name)
				}
				serials[i] = a.Serial
				return a.Err
			})
		})
	}
	if err := g.Wait(); err != nil {
		return "", err
	}
	for _, serial := range serials {
		if serial != serials[0] {
			return "", fmt.Errorf("%s: the nodes show %q, want one certificate", name, serials)
		}
	}
	return serials[0], nil
}
