package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// The events that rotate the keys, as an operator types them.
const (
	eventRefresh = "ssl-session-ticket-refresh"
	typeRefresh  = `consul event -name="ssl-session-ticket-refresh" $(openssl rand 48 | base64)`
	typeRotate   = `consul event -name=tlsfleet-rotate-ticket`
)

// look is the pause in which a step's outcome can be read.
const look = 3 * time.Second

// tour shows each way to rotate once, certificates, imported and obtained, and
// a site.
func (s *stage) tour(ctx context.Context) error {
	for _, step := range []func(context.Context) error{s.introduce, s.byCommand, s.byEvent, s.byKeyEvent, s.certificates, s.manyNames, s.domains, s.sites} {
		if err := errors.Join(step(ctx), sleep(ctx, look)); err != nil {
			return err
		}
	}
	s.board.say("The tour is over.")
	return s.board.someKept()
}

// goOn rotates and renews on a short schedule, in turns by each way.
func (s *stage) goOn(ctx context.Context) error {
	s.board.say("Rotating or renewing every %s from here on. Ctrl-C ends the demo.", s.options.every)
	ways := []func(context.Context) error{s.byCommand, s.byEvent, s.byKeyEvent, s.byRenewal}
	for i := 0; ; i++ {
		if err := sleep(ctx, s.options.every); err != nil {
			return err
		}
		if err := ways[i%len(ways)](ctx); err != nil {
			return err
		}
	}
}

func (s *stage) introduce(context.Context) error {
	s.board.say(`
Three nginx share one ring of session ticket keys. A client that comes back
offers the ticket it got from another node; it is kept only if that key is
known. "epoch" is the ring's version on a node, "proved" the version seen in a
handshake with its nginx, "key" the name of the key that seals there, from that
handshake. %.0f connections per second, TLS 1.2 and 1.3, go through the balancer
in turn; some keep a ticket for up to %s. Reloads are spread over %s, at least
%s apart.`,
		s.options.rate, hold, s.options.splay, minInterval)
	return nil
}

func (s *stage) byCommand(ctx context.Context) error {
	s.board.say("\n$ tlsfleet rotate-ticket --wait\nNext becomes current: every node can open its tickets already. One reload each.")
	start := time.Now()
	if err := s.agents.Rotate(ctx); err != nil {
		return err
	}
	s.board.say("Exit 0 after %s: proved on all nodes.", time.Since(start).Round(100*time.Millisecond))
	return nil
}

func (s *stage) byEvent(ctx context.Context) error {
	before, err := s.agents.Status(ctx)
	if err != nil {
		return err
	}
	s.board.say("\n$ %s\nThe same by an event. It only says \"look now\": the leader decides and writes.", typeRotate)
	if err := s.shell(ctx, typeRotate); err != nil {
		return err
	}
	return s.awaitEpoch(ctx, before.Epoch+1)
}

// byKeyEvent fires the event with a key in it. Both the agents and the watch
// handler on the first node see it, and the ring changes for it once.
func (s *stage) byKeyEvent(ctx context.Context) error {
	before, err := s.agents.Status(ctx)
	if err != nil {
		return err
	}
	calls, err := s.handlerCalls()
	if err != nil {
		return err
	}
	s.board.say("\n$ %s\nThis event brings a key. It is adopted in two steps: first every node learns to\nopen with it (epoch %d), then all seal with it (epoch %d).", typeRefresh, before.Epoch+1, before.Epoch+2)
	if err := s.shell(ctx, typeRefresh); err != nil {
		return err
	}
	key, err := s.firedKey()
	if err != nil {
		return err
	}
	if err := s.awaitEpoch(ctx, before.Epoch+2); err != nil {
		return err
	}
	if err := s.await(ctx, "the watch handler", func() (bool, error) {
		now, err := s.handlerCalls()
		return now > calls, err
	}); err != nil {
		return err
	}
	if err := sleep(ctx, look); err != nil {
		return err
	}
	after, err := s.agents.Status(ctx)
	if err != nil {
		return err
	}
	return s.checkAdopted(before, after, key)
}

func (s *stage) checkAdopted(before, after lab.Status, key string) error {
	for _, n := range after.Nodes {
		if n.Key() != key {
			return fmt.Errorf("adopt the key of the event: %s seals with %q, want %s", n.Node, n.Key(), key)
		}
	}
	if after.Epoch != before.Epoch+2 {
		return fmt.Errorf("adopt the key of the event: epoch went from %d to %d, want 2 more", before.Epoch, after.Epoch)
	}
	s.board.say("All nodes seal with %s, the key of the event. The agents saw the event,\nand `tlsfleet handle-event`, called by consul watch on node1, brought it too:\ndone once.", short(key))
	return nil
}

// firedKey is the name of the key in the newest event, in hexadecimal digits.
func (s *stage) firedKey() (string, error) {
	events, _, err := s.consul.Client(s.p).Event().List(eventRefresh, nil)
	if err != nil || len(events) == 0 {
		return "", fmt.Errorf("list events: %d found: %w", len(events), err)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(events[len(events)-1].Payload)))
	if err != nil || len(raw) != 48 {
		return "", fmt.Errorf("read event: %d bytes: %w", len(raw), err)
	}
	return hex.EncodeToString(raw[:16]), nil
}

// shell runs a line as an operator types it.
func (s *stage) shell(ctx context.Context, line string) error {
	path := strings.TrimSuffix(testkit.ConsulBinary(s.p), "/consul") + ":" + os.Getenv("PATH")
	_, err := lab.Run(ctx, []string{"PATH=" + path, "CONSUL_HTTP_ADDR=" + s.consul.Addr}, "/bin/sh", "-c", line)
	return err
}

// awaitEpoch waits until every node has proved the ring of that epoch.
func (s *stage) awaitEpoch(ctx context.Context, epoch uint64) error {
	start := time.Now()
	if err := s.await(ctx, fmt.Sprintf("epoch %d on all nodes", epoch), func() (bool, error) {
		now, err := s.agents.Status(ctx)
		return now.Epoch >= epoch && now.Serving == nodes && now.Proved == nodes, err
	}); err != nil {
		return err
	}
	s.board.say("Epoch %d proved on all nodes after %s.", epoch, time.Since(start).Round(100*time.Millisecond))
	return nil
}

// handlerCalls is how often the watch handler has handed events over.
func (s *stage) handlerCalls() (int, error) {
	text, err := os.ReadFile(s.handlerLog())
	if err != nil {
		return 0, fmt.Errorf("read log of the watch handler: %w", err)
	}
	return bytes.Count(text, []byte("handed over")), nil
}
