package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// Names for which certificates are obtained.
const (
	blog      = "blog.test"
	elsewhere = "elsewhere.test" // its DNS leads to nobody
	refused   = "refused.test"   // the CA issues nothing for it
)

// domains shows names for which the leader obtains certificates: one that gets
// it and is renewed, and two that cannot have any.
func (s *stage) domains(ctx context.Context) error {
	before, err := s.workers(ctx)
	if err != nil {
		return err
	}
	for i, name := range []string{blog, refused} {
		s.pebble.SetAddress(s.p, name, s.fleet.Nodes[i].Nginx.Address) //nolint:contextcheck // bounded by itself
	}
	s.pebble.SetAddress(s.p, elsewhere, "127.0.0.99") //nolint:contextcheck // bounded by itself
	s.board.say(`
The leader obtains certificates itself, from an ACME CA. The challenge for %s
goes to one node; each nginx answers from its own configuration.`, blog)
	w := s.startWatch(ctx, blog, s.pebble.IssuingRoots(s.p), func(_ int, a lab.Attempt) { s.board.recordCert(a) }) //nolint:contextcheck // bounded by itself
	defer w.stop()
	serial := ""
	for _, step := range []struct{ verb, talk string }{
		{"add", "Preflight, order, challenge, certificate; sealed into Consul, and on every node."},
		{"renew", "A renewal, before its time. The very next handshake gets the new certificate."},
	} {
		if serial, err = s.obtain(ctx, w, step.verb, step.talk, serial); err != nil {
			return err
		}
	}
	if err := sleep(ctx, look+s.options.splay); err != nil {
		return err
	}
	if err := s.unreloaded(ctx, before); err != nil {
		return err
	}
	return s.failing(ctx)
}

// obtain has the leader get a certificate for a watched name, by the command
// line, and waits until every node shows one that is not the old one.
func (s *stage) obtain(ctx context.Context, w *watch, verb, talk, old string) (serial string, err error) {
	s.board.say("\n$ tlsfleet domain %s %s\n%s", verb, w.name, talk)
	start := time.Now()
	if _, err := s.agents.Domain(ctx, verb, w.name); err != nil {
		return "", err
	}
	took := time.Since(start)
	if err := s.await(ctx, "a certificate of "+w.name, func() (bool, error) {
		serial = w.other(old)
		return serial != "", nil
	}); err != nil {
		return "", err
	}
	at, err := s.awaitShown(ctx, w, serial)
	if err != nil {
		return "", err
	}
	var after []int64
	for _, t := range at {
		after = append(after, t.Sub(start).Milliseconds())
	}
	s.board.say("Exit 0 after %d ms: the leader has it. Leaf %s is shown, by the\nbalancer too, after: %s.", took.Milliseconds(), short(serial), perNode(after, "%d ms"))
	return serial, nil
}

// domainList is what `tlsfleet domain list --format json` says, as far as the
// demo looks at it.
type domainList struct {
	Domains []struct {
		Names []string `json:"names"`
		State string   `json:"state"`
	} `json:"domains"`
}

// failing shows a name that leads elsewhere and one that the CA refuses.
func (s *stage) failing(ctx context.Context) error {
	orders := s.pebble.Counts(s.p).Orders
	s.board.say(`
$ tlsfleet domain add %s %s
The one does not lead here: a token fetched through the name does not come back,
and the CA is not even asked. For the other the CA issues nothing.`, elsewhere, refused)
	if _, err := s.agents.Domain(ctx, "add", elsewhere, refused); err != nil {
		return err
	}
	want := map[string]string{blog: "issued", elsewhere: "waiting", refused: "parked"}
	if err := s.await(ctx, "the names that fail", func() (bool, error) {
		states, err := s.states(ctx)
		for name, state := range want {
			if states[name] != state {
				return false, err
			}
		}
		return true, err
	}); err != nil {
		return err
	}
	said, err := s.agents.Domain(ctx, "list")
	if err != nil {
		return err
	}
	if now := s.pebble.Counts(s.p).Orders; now != orders {
		return fmt.Errorf("add %s and %s: the CA has %d orders, want %d as before", elsewhere, refused, now, orders)
	}
	s.board.say("\n$ tlsfleet domain list\n%s\nNeither cost an order. What waits is tried again; what is parked is left alone\nuntil its names lead here or an operator says so.", strings.TrimRight(said, "\n"))
	return nil
}

// states is the state of each name.
func (s *stage) states(ctx context.Context) (map[string]string, error) {
	said, err := s.agents.Domain(ctx, "list", "--format", "json")
	if err != nil {
		return nil, err
	}
	var list domainList
	if err := json.Unmarshal([]byte(said), &list); err != nil {
		return nil, fmt.Errorf("read list of domains: %w", err)
	}
	states := map[string]string{}
	for _, d := range list.Domains {
		states[d.Names[0]] = d.State
	}
	return states, nil
}
