package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// requestLimit bounds one request.
const requestLimit = 10 * time.Second

// load is clients that keep their connections. Each sends the same POST; only
// those that retry say that it may be repeated, which is what net/http goes by.
type load struct {
	mu              sync.Mutex
	retrying, plain tally
	first           error // of the failures of those that retry
}

// run sends requests until ctx ends.
func (l *load) run(ctx context.Context, s *scene) {
	var all sync.WaitGroup
	for i := range 2 * s.o.clients {
		all.Go(func() { l.visit(ctx, s, i) })
	}
	all.Wait()
}

func (l *load) visit(ctx context.Context, s *scene, i int) {
	retries := i%2 == 0
	tr := s.transport(s.fleet.RoundRobin(i))
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr, Timeout: requestLimit}
	for sleep(ctx, s.o.pause) == nil {
		_, _, err := post(context.WithoutCancel(ctx), client, retries) // one that has begun is finished and counted
		l.count(retries, err)
	}
}

func (l *load) count(retries bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &l.plain
	if retries {
		t = &l.retrying
	}
	t.sent++
	if err == nil {
		return
	}
	t.failed++
	if retries && l.first == nil {
		l.first = err
	}
}

// transport reaches the site by dial.
func (s *scene) transport(dial func(context.Context) (net.Conn, error)) *http.Transport {
	return &http.Transport{
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, ServerName: siteName, RootCAs: s.ca.Roots},
		MaxConnsPerHost: 1,
	}
}

// post sends one request; it returns the serial number of the certificate that
// was shown and what the backend has answered.
func post(ctx context.Context, client *http.Client, retries bool) (serial, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+siteName+"/", strings.NewReader("an order"))
	if err != nil {
		return "", "", err
	}
	if retries {
		req.Header.Set("Idempotency-Key", "1")
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", "", err
	}
	text, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return "", "", fmt.Errorf("read answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", "", fmt.Errorf("ask %s: %s", siteName, resp.Status)
	}
	return resp.TLS.PeerCertificates[0].SerialNumber.Text(16), string(text), nil
}

// uses looks whether a node uses just these instances and shows this
// certificate.
func (s *scene) uses(ctx context.Context, node int, want map[string]bool, serial string) error {
	seen := map[string]bool{}
	tr := s.transport(s.fleet.Direct(node))
	tr.DisableKeepAlives = true
	client := &http.Client{Transport: tr, Timeout: requestLimit}
	for range 5 * len(want) {
		shown, instance, err := post(ctx, client, false)
		switch {
		case err != nil:
			return err
		case shown != serial:
			return fmt.Errorf("certificate %s, want %s", shown, serial)
		case !want[instance]:
			return fmt.Errorf("instance %s has left", instance)
		}
		if seen[instance] = true; len(seen) == len(want) {
			return nil
		}
	}
	return fmt.Errorf("%d of %d instances are used", len(seen), len(want))
}

// converged waits until every node serves what there is now.
func (s *scene) converged(ctx context.Context) error {
	for i, n := range s.fleet.Nodes {
		err := lab.Until(ctx, s.o.limit, 50*time.Millisecond, func() error {
			if err := s.contestant.ended(); err != nil {
				return err
			}
			return s.uses(ctx, i, s.joined, s.serial)
		})
		if err != nil {
			return fmt.Errorf("wait for %s to serve the last change: %w", n.Name, err)
		}
	}
	return nil
}
