package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

const (
	app        = "app.test" // what the site is called by clients
	appService = "app"
	appClients = 6
	appPause   = 20 * time.Millisecond
	appTimeout = 10 * time.Second
)

const appSite = `site "app" {
  server_names = ["app.test"]
  http         = "off"
  backends {
    service = "app"
  }
}
`

// backend is an instance of the site's service.
type backend struct {
	word   string
	server *httptest.Server
	asked  atomic.Int64
}

func (s *stage) newBackend(word string) *backend {
	b := &backend{word: word}
	b.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		b.asked.Add(1)
		if _, err := io.WriteString(w, b.word); err != nil {
			s.p.Logf("backend %s: %v", b.word, err)
		}
	}))
	s.p.Cleanup(b.server.Close)
	return b
}

// join registers the instance in Consul's catalog; leave takes it out.
func (b *backend) join(client *api.Client) error {
	a, err := netip.ParseAddrPort(b.server.Listener.Addr().String())
	if err != nil {
		return err
	}
	return client.Agent().ServiceRegister(&api.AgentServiceRegistration{ID: appService + "-" + b.word, Name: appService, Address: a.Addr().String(), Port: int(a.Port())})
}

func (b *backend) leave(client *api.Client) error {
	return client.Agent().ServiceDeregister(appService + "-" + b.word)
}

// sites shows a virtual host whose backends follow Consul's catalog: one
// leaves and one joins while clients send requests.
func (s *stage) sites(ctx context.Context) error {
	consul := s.consul.Client(s.p)
	one, two, three := s.newBackend("one"), s.newBackend("two"), s.newBackend("three")
	if err := errors.Join(one.join(consul), two.join(consul), s.importApp(ctx)); err != nil {
		return err
	}
	file := filepath.Join(s.p.TempDir(), "app.hcl")
	if err := os.WriteFile(file, []byte(appSite), 0o600); err != nil {
		return fmt.Errorf("write site: %w", err)
	}
	s.board.say("\nA site: a name, and a service in Consul with two instances, one and two.\n\n%s\n$ tlsfleet site set app.hcl\n\nOne node serves it first, its canary. Once that has proved it, all do.", appSite)
	start := time.Now()
	if _, err := s.agents.Site(ctx, "set", file); err != nil {
		return err
	}
	if err := s.awaitBackends(ctx, start, one, two); err != nil {
		return err
	}
	s.board.say("%d clients send requests through the balancer all the time, on connections that\nthey keep.", appClients)
	stop := s.startRequests(ctx)
	defer stop()
	for _, step := range []func() error{
		func() error { return sleep(ctx, look) },
		func() error { return s.joins(ctx, consul, three, one, two) },
		func() error { return s.leaves(ctx, consul, one, two, three) },
		func() error { return sleep(ctx, look) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	sent, failed := s.board.requests()
	s.board.say("%d requests so far, failed: %d. One: %d, two: %d, three: %d.", sent, failed, one.asked.Load(), two.asked.Load(), three.asked.Load())
	return nil
}

// importApp brings a certificate for the site, as for any other name.
func (s *stage) importApp(ctx context.Context) error {
	key, err := lab.NewKey()
	if err != nil {
		return err
	}
	cert, err := s.ca.Issue(key, lifetime(0), app)
	if err != nil {
		return err
	}
	file := filepath.Join(s.p.TempDir(), app+".pem")
	if err := os.WriteFile(file, cert.PEM, 0o600); err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	_, err = s.agents.Import(ctx, func(string) {}, file)
	return err
}

func (s *stage) joins(ctx context.Context, consul *api.Client, b *backend, others ...*backend) error {
	s.board.say("\nInstance %s joins in Consul's catalog.", b.word)
	start := time.Now()
	if err := b.join(consul); err != nil {
		return err
	}
	return s.awaitBackends(ctx, start, append(others, b)...)
}

// leaves takes an instance out of the catalog, and ends it when nobody asks it
// any more.
func (s *stage) leaves(ctx context.Context, consul *api.Client, b *backend, others ...*backend) error {
	s.board.say("\nInstance %s leaves the catalog.", b.word)
	start := time.Now()
	if err := b.leave(consul); err != nil {
		return err
	}
	if err := s.awaitBackends(ctx, start, others...); err != nil {
		return err
	}
	asked := int64(-1)
	if err := s.await(ctx, "the last request to "+b.word, func() (bool, error) {
		before := asked
		asked = b.asked.Load()
		return asked == before, nil
	}); err != nil {
		return err
	}
	b.server.Close()
	s.board.say("Nobody asks it any more; it is stopped after %d requests.", asked)
	return nil
}

// awaitBackends waits until each node passes requests on to just these.
func (s *stage) awaitBackends(ctx context.Context, start time.Time, backends ...*backend) error {
	var want []string
	for _, b := range backends {
		want = append(want, b.word)
	}
	slices.Sort(want)
	var after []int64
	for i := range s.fleet.Nodes {
		tr := s.appTransport(s.fleet.Direct(i))
		tr.DisableKeepAlives = true
		client := &http.Client{Transport: tr, Timeout: appTimeout}
		if err := s.await(ctx, fmt.Sprintf("%s on node%d by %s", app, i+1, strings.Join(want, ", ")), func() (bool, error) {
			seen := map[string]bool{}
			for range 4 * len(want) {
				word, err := ask(ctx, client)
				if err != nil {
					return false, nil //nolint:nilerr // not yet
				}
				seen[word] = true
			}
			return slices.Equal(slices.Sorted(maps.Keys(seen)), want), nil
		}); err != nil {
			return err
		}
		after = append(after, time.Since(start).Milliseconds())
	}
	s.board.say("Requests go to %s after: %s.", strings.Join(want, ", "), perNode(after, "%d ms"))
	return nil
}

// startRequests starts clients whose requests have to succeed. The returned
// function stops them.
func (s *stage) startRequests(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	for i := range appClients {
		all.Go(func() {
			tr := s.appTransport(s.fleet.RoundRobin(i))
			defer tr.CloseIdleConnections()
			client := &http.Client{Transport: tr, Timeout: appTimeout}
			for sleep(ctx, appPause) == nil {
				_, err := ask(context.WithoutCancel(ctx), client)
				s.board.recordRequest(err)
			}
		})
	}
	return func() {
		cancel()
		all.Wait()
	}
}

// appTransport reaches the site by dial. It repeats a GET that was cut on a
// connection used before, as browsers do.
func (s *stage) appTransport(dial func(context.Context) (net.Conn, error)) *http.Transport {
	return &http.Transport{
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, ServerName: app, RootCAs: s.ca.Roots},
		MaxConnsPerHost: 1,
	}
}

// ask sends one request to the site and returns which backend has answered.
func ask(ctx context.Context, client *http.Client) (word string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+app+"/", nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("ask %s: %s", app, resp.Status)
	}
	return string(text), err
}
