package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// perHandshake bounds one handshake.
const perHandshake = 10 * time.Second

// held is a ticket that a client offers again and again; without one it keeps
// the first that it gets.
type held struct{ state *tls.ClientSessionState }

// Get implements tls.ClientSessionCache.
func (h *held) Get(string) (*tls.ClientSessionState, bool) { return h.state, h.state != nil }

// Put implements tls.ClientSessionCache.
func (h *held) Put(_ string, s *tls.ClientSessionState) {
	if h.state == nil {
		h.state = s
	}
}

// handshakes makes so many, with the names in turn, full ones or with the
// name's ticket.
func handshakes(ctx context.Context, addr string, names []string, tickets []*held, o options) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var clients sync.WaitGroup
	for i := range o.clients {
		clients.Go(func() {
			for j := i; j < o.handshakes && ctx.Err() == nil; j += o.clients {
				var ticket *held
				if tickets != nil {
					ticket = &held{tickets[j%len(names)].state}
				}
				if err := handshake(ctx, addr, names[j%len(names)], ticket); err != nil {
					cancel(err)
				}
			}
		})
	}
	clients.Wait()
	return context.Cause(ctx)
}

// handshake fails if it does not resume with a ticket that has a state. With an
// empty one it waits for the server's.
func handshake(ctx context.Context, addr, name string, ticket *held) (err error) {
	ctx, cancel := context.WithTimeout(ctx, perHandshake)
	defer cancel()
	c := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: name, InsecureSkipVerify: true} //nolint:gosec // self-signed
	resume := false
	if ticket != nil {
		c.ClientSessionCache, resume = ticket, ticket.state != nil
	}
	d := tls.Dialer{Config: c}
	raw, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("shake hands for %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, raw.Close()) }()
	if conn, ok := raw.(*tls.Conn); !ok || conn.ConnectionState().DidResume != resume {
		return fmt.Errorf("shake hands for %s: resumed = %t, want %t", name, !resume, resume)
	}
	if ticket == nil || resume {
		return nil
	}
	if _, err := io.WriteString(raw, "GET / HTTP/1.0\r\nHost: "+name+"\r\n\r\n"); err != nil {
		return fmt.Errorf("ask %s: %w", name, err)
	}
	if _, err := io.ReadAll(raw); err != nil {
		return fmt.Errorf("ask %s: %w", name, err)
	}
	if ticket.state == nil {
		return fmt.Errorf("shake hands for %s: no ticket", name)
	}
	return nil
}

// take gets a ticket for each name.
func take(ctx context.Context, addr string, names []string) ([]*held, error) {
	tickets := make([]*held, len(names))
	for i, name := range names {
		tickets[i] = &held{}
		if err := handshake(ctx, addr, name, tickets[i]); err != nil {
			return nil, err
		}
	}
	return tickets, nil
}
