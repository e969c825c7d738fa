package main

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

const (
	nodes     = 5
	instances = 8 // of the service, of which at least fewest are registered
	fewest    = 2
	siteName  = "shop.bench.test"
	service   = "shop"
	warmUp    = 2 * time.Second
)

// contestant keeps the nginx of every node on the service and the certificate,
// in its own way.
type contestant interface {
	// certify writes a certificate for the site.
	certify(ctx context.Context, c lab.Certificate) error
	// start starts it on every node. The first certificate is written.
	start(ctx context.Context, p *lab.Program, s *scene) error
	// ended is why a part of it does not run any more.
	ended() error
}

// scene is what a contestant plays on.
type scene struct {
	o          options
	fleet      *lab.Fleet
	consul     *testkit.ConsulServer
	client     *api.Client
	ca         *lab.Authority
	key        *ecdsa.PrivateKey
	contestant contestant

	addresses []string        // of all instances
	joined    map[string]bool // those that are registered, by address
	issued    int
	serial    string // of the certificate in force
	random    *rand.Rand
}

// newScene starts Consul, nginx, and instances of which half are registered.
func newScene(p *lab.Program, o options) (*scene, error) {
	s := &scene{
		o: o, consul: testkit.Consul(p), fleet: lab.NewFleet(p, nodes), joined: map[string]bool{},
		random: rand.New(rand.NewPCG(1, 2)), //nolint:gosec // the same changes for all
	}
	s.client = s.consul.Client(p)
	var err error
	if s.ca, err = lab.NewAuthority(); err != nil {
		return nil, err
	}
	if s.key, err = lab.NewKey(); err != nil {
		return nil, err
	}
	for range instances {
		s.addresses = append(s.addresses, instance(p))
	}
	for _, address := range s.addresses[:instances/2] {
		if err := s.join(address); err != nil {
			return nil, err
		}
	}
	s.fleet.Start(p)
	return s, nil
}

// instance serves its address until p ends: an instance that leaves the
// catalog goes on, so that a failed request is nobody's but nginx's.
func instance(p *lab.Program) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		if !ok {
			return
		}
		if _, err := io.WriteString(w, local.String()); err != nil {
			p.Logf("answer a request: %v", err)
		}
	}))
	p.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func (s *scene) join(address string) error {
	a, err := netip.ParseAddrPort(address)
	if err == nil {
		err = s.client.Agent().ServiceRegister(&api.AgentServiceRegistration{
			ID: address, Name: service, Address: a.Addr().String(), Port: int(a.Port()),
		})
	}
	s.joined[address] = true
	return err
}

func (s *scene) leave(address string) error {
	delete(s.joined, address)
	return s.client.Agent().ServiceDeregister(address)
}

// changeCatalog lets an instance join or leave.
func (s *scene) changeCatalog() error {
	for {
		address := s.addresses[s.random.IntN(instances)]
		switch {
		case !s.joined[address]:
			return s.join(address)
		case len(s.joined) > fewest:
			return s.leave(address)
		}
	}
}

// renew writes another certificate.
func (s *scene) renew(ctx context.Context) error {
	s.issued++
	c, err := s.ca.Issue(s.key, time.Now().AddDate(0, 0, 30).Add(time.Duration(s.issued)*time.Minute), siteName)
	if err != nil {
		return err
	}
	s.serial = c.Serial
	return s.contestant.certify(ctx, c)
}

// change makes all changes, evenly spread.
func (s *scene) change(ctx context.Context) error {
	began := time.Now()
	for i := range s.o.changes {
		if err := sleep(ctx, time.Until(began.Add(time.Duration(i)*s.o.during/time.Duration(s.o.changes)))); err != nil {
			return err
		}
		var err error
		if i%2 == 0 {
			err = s.changeCatalog()
		} else {
			err = s.renew(ctx)
		}
		if err = errors.Join(err, s.contestant.ended()); err != nil {
			return fmt.Errorf("change %d: %w", i+1, err)
		}
	}
	return nil
}

// measure makes the changes with one contestant.
func measure(ctx context.Context, p *lab.Program, o options, name string) (figure, error) {
	f := figure{who: name, changes: o.changes}
	s, err := newScene(p, o)
	if err != nil {
		return f, err
	}
	if name == templateName {
		s.contestant = &template{binary: o.template, consul: s.client, fleet: s.fleet}
	} else if s.contestant, err = newTLSFleet(ctx, p, s); err != nil {
		return f, err
	}
	if err := errors.Join(s.renew(ctx), s.contestant.start(ctx, p, s), s.converged(ctx)); err != nil {
		return f, err
	}
	var clients load
	background, stop := context.WithCancel(ctx)
	defer stop()
	spans, ended := []span(nil), make(chan error, 1)
	go func() {
		var err error
		spans, err = follow(background, s.fleet)
		ended <- err
	}()
	visited := make(chan struct{})
	go func() {
		defer close(visited)
		clients.run(background, s)
	}()
	var began time.Time
	err = sleep(ctx, warmUp)
	if err == nil {
		began = time.Now()
		err = s.change(ctx)
	}
	if err == nil {
		last := time.Now()
		err = s.converged(ctx)
		f.converge, f.during = time.Since(last), time.Since(began)
	}
	stop()
	<-visited
	if err = errors.Join(err, <-ended); err != nil {
		return f, err
	}
	spans = slices.DeleteFunc(spans, func(s span) bool { return s.from.Before(began) })
	f.reloads, f.together = reloadsOf(spans, nodes), together(spans)
	f.retrying, f.plain = clients.retrying, clients.plain
	if clients.first != nil {
		p.Logf("  the first request that failed although it was repeated: %v", clients.first)
	}
	return f, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
