package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// shop is the name whose certificate is renewed under the eyes of clients.
const shop = "shop.test"

// errReloaded is returned when nginx was reloaded for certificates.
var errReloaded = errors.New("nginx was reloaded")

// workers is what tells that nginx was reloaded, by node: how often it has
// replaced its workers, and the release that answers.
type workers struct {
	reloads  []int
	releases []uint64
}

func (s *stage) workers(ctx context.Context) (workers, error) {
	var w workers
	var err error
	if w.reloads, err = s.fleet.Reloads(); err != nil {
		return w, err
	}
	status, err := s.agents.Status(ctx)
	for _, n := range status.Nodes {
		w.releases = append(w.releases, n.Report.Release)
	}
	return w, err
}

// unreloaded is errReloaded unless every nginx has the workers it had before.
func (s *stage) unreloaded(ctx context.Context, before workers) error {
	now, err := s.workers(ctx)
	if err != nil {
		return err
	}
	if !slices.Equal(now.reloads, before.reloads) || !slices.Equal(now.releases, before.releases) {
		return fmt.Errorf("bring certificates: %w: reloads were %v and are %v, releases were %d and are %d",
			errReloaded, before.reloads, now.reloads, before.releases, now.releases)
	}
	s.board.say("No nginx was reloaded: %s, as before.", perNode(now.reloads, "%d"))
	return nil
}

// certificates shows import and renewal of one certificate.
func (s *stage) certificates(ctx context.Context) error {
	before, err := s.workers(ctx)
	if err != nil {
		return err
	}
	s.board.say(`
Certificates come by Consul too. Each nginx has one server for all names, which
reads the files at the handshake. Clients ask for %s all the time, on each
node and through the balancer; "leaf" is the serial number they are shown.`, shop)
	s.shop = s.startWatch(ctx, shop, s.ca.Roots, s.board.recordShop)
	for _, talk := range []string{
		"The certificate goes into Consul, sealed; each node fetches it and serves it.",
		"A renewal. The very next handshake gets the new certificate.",
	} {
		if err := s.renewShop(ctx, talk); err != nil {
			return err
		}
		// A reload for it, wrong as it would be, would come within the splay.
		if err := sleep(ctx, look+s.options.splay); err != nil {
			return err
		}
		if err := s.unreloaded(ctx, before); err != nil {
			return err
		}
	}
	return nil
}

// renewShop brings a certificate for shop that ends later than the last.
func (s *stage) renewShop(ctx context.Context, talk string) error {
	s.renewals++
	return s.bring(ctx, s.shop, talk, s.renewals)
}

// bring imports a certificate for a watched name, by the command line, and
// waits until every node shows it.
func (s *stage) bring(ctx context.Context, w *watch, talk string, renewal int) error {
	key, err := lab.NewKey()
	if err != nil {
		return err
	}
	cert, err := s.ca.Issue(key, lifetime(renewal), w.name)
	if err != nil {
		return err
	}
	file := filepath.Join(s.p.TempDir(), w.name+".pem")
	if err := os.WriteFile(file, cert.PEM, 0o600); err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	s.board.say("\n$ tlsfleet cert import %s.pem\n%s", w.name, talk)
	seen := s.board.handshakes()
	start := time.Now()
	if _, err := s.agents.Import(ctx, s.board.doing, file); err != nil {
		return err
	}
	took := time.Since(start)
	at, err := s.awaitShown(ctx, w, cert.Serial)
	if err != nil {
		return err
	}
	var after []int64
	for _, t := range at {
		after = append(after, t.Sub(start).Milliseconds())
	}
	s.board.say("Exit 0 after %d ms. Leaf %s is shown, by the balancer too,\nafter: %s.", took.Milliseconds(), short(cert.Serial), perNode(after, "%d ms"))
	if now := s.board.handshakes(); now.Full > seen.Full {
		s.board.say("Handshakes during the change: %d, failed: %d.", now.Full-seen.Full, now.Broken-seen.Broken)
	}
	return nil
}

// lifetime is the end of a certificate; each renewal ends a day later.
func lifetime(renewal int) time.Time { return time.Now().AddDate(0, 0, 30+renewal) }

// perNode is "node1 5, node2 7, node3 6".
func perNode[T any](values []T, format string) string {
	var parts []string
	for i, v := range values {
		parts = append(parts, fmt.Sprintf("node%d "+format, i+1, v))
	}
	return strings.Join(parts, ", ")
}

// byRenewal is renewShop with the proof that it needed no reload.
func (s *stage) byRenewal(ctx context.Context) error {
	before, err := s.workers(ctx)
	if err != nil {
		return err
	}
	if err := errors.Join(s.renewShop(ctx, "Another renewal."), sleep(ctx, look+s.options.splay)); err != nil {
		return err
	}
	return s.unreloaded(ctx, before)
}
