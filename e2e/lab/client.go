package lab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// connectTimeout bounds one connection of a client, all in all.
const connectTimeout = 10 * time.Second

// Client is one TLS client that keeps the newest ticket it was given, as
// browsers do. It is for one goroutine.
type Client struct {
	dial    func(ctx context.Context) (net.Conn, error)
	config  *tls.Config
	tickets ticketJar
}

// NewClient makes a client of exactly one TLS version that trusts roots and
// asks for name. dial chooses the way to the fleet.
func NewClient(version uint16, name string, roots *x509.CertPool, dial func(ctx context.Context) (net.Conn, error)) *Client {
	c := &Client{dial: dial}
	c.config = &tls.Config{
		MinVersion: version, MaxVersion: version,
		ServerName: name, RootCAs: roots,
		ClientSessionCache: &c.tickets,
	}
	return c
}

// Connect makes one connection, offering the newest ticket if there is one,
// asks for the page and reads the answer to its end, so that the tickets of
// TLS 1.3, which come after the handshake, are taken in.
func (c *Client) Connect(ctx context.Context) Attempt {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	a := Attempt{Version: c.config.MinVersion, Held: c.tickets.age()}
	c.tickets.offered, c.tickets.taken = false, false
	err := c.exchange(ctx, &a)
	a.Ticket = c.tickets.taken
	if err != nil {
		a.Outcome, a.Err = Broken, err
	}
	if a.At.IsZero() {
		a.At = time.Now()
	}
	return a
}

func (c *Client) exchange(ctx context.Context, a *Attempt) (err error) {
	raw, err := c.dial(ctx)
	if err != nil {
		return err
	}
	conn := tls.Client(raw, c.config)
	defer func() {
		if closeErr := raw.Close(); closeErr != nil {
			err = errors.Join(err, fmt.Errorf("close connection: %w", closeErr))
		}
	}()
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("shake hands: %w", err)
	}
	a.At = time.Now()
	state := conn.ConnectionState()
	a.Serial = state.PeerCertificates[0].SerialNumber.Text(16)
	switch {
	case !c.tickets.offered:
		a.Outcome = Full
	case state.DidResume:
		a.Outcome = Resumed
	default:
		a.Outcome = Lost
	}
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return fmt.Errorf("set deadline: %w", err)
	}
	request := "GET / HTTP/1.1\r\nHost: " + c.config.ServerName + "\r\nConnection: close\r\n\r\n"
	if _, err := io.WriteString(conn, request); err != nil {
		return fmt.Errorf("send request: %w", err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	return nil
}

// ticketJar is a tls.ClientSessionCache for one session: the newest.
type ticketJar struct {
	state   *tls.ClientSessionState
	since   time.Time
	offered bool // the last handshake took the ticket from here
	taken   bool // a new ticket came since
}

func (j *ticketJar) age() time.Duration {
	if j.state == nil {
		return 0
	}
	return time.Since(j.since)
}

// Get implements tls.ClientSessionCache.
func (j *ticketJar) Get(string) (*tls.ClientSessionState, bool) {
	j.offered = j.state != nil
	return j.state, j.offered
}

// Put implements tls.ClientSessionCache. A nil state means that the ticket
// spoiled a handshake.
func (j *ticketJar) Put(_ string, state *tls.ClientSessionState) {
	j.state, j.since = state, time.Now()
	j.taken = state != nil
}
