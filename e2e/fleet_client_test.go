package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// versions are the TLS versions that clients come with.
var versions = []uint16{tls.VersionTLS12, tls.VersionTLS13}

// Ticket is a session ticket that a client keeps and offers again and again.
type Ticket struct {
	Version uint16
	From    string        // node that gave it
	Key     fleet.KeyName // that sealed it
	state   *tls.ClientSessionState
}

// TakeTicket makes a full handshake with the node and keeps the ticket.
func (n *Node) TakeTicket(t *testing.T, version uint16) Ticket {
	t.Helper()
	jar := &heldTicket{}
	if _, err := n.visit(version, jar); err != nil {
		t.Fatalf("take ticket: %v", err)
	}
	if jar.got == nil {
		t.Fatalf("%s gave no ticket with %s", n.Name, tls.VersionName(version))
	}
	sealed, _, err := jar.got.ResumptionState()
	if err != nil || len(sealed) < fleet.KeyNameSize {
		t.Fatalf("read ticket: %d bytes, %v", len(sealed), err)
	}
	return Ticket{Version: version, From: n.Name, Key: fleet.KeyName(sealed[:fleet.KeyNameSize]), state: jar.got}
}

// TakeTickets takes one ticket of each TLS version from the node.
func (n *Node) TakeTickets(t *testing.T) []Ticket {
	t.Helper()
	var out []Ticket
	for _, v := range versions {
		out = append(out, n.TakeTicket(t, v))
	}
	return out
}

// Resumes offers the ticket to the node and reports whether it was accepted.
func (n *Node) Resumes(k Ticket) (bool, error) {
	return n.visit(k.Version, &heldTicket{offer: k.state})
}

// WantResumed offers each ticket to each of the nodes and fails the test where
// the outcome is another.
func WantResumed(t *testing.T, want bool, when string, tickets []Ticket, nodes ...*Node) {
	t.Helper()
	for _, k := range tickets {
		for _, n := range nodes {
			got, err := n.Resumes(k)
			if err != nil {
				t.Errorf("%s: ticket of %s on %s, %s: %v", when, k.From, n.Name, tls.VersionName(k.Version), err)
			} else if got != want {
				t.Errorf("%s: ticket of %s (key %s) on %s, %s: resumed = %t, want %t", when, k.From, k.Key, n.Name, tls.VersionName(k.Version), got, want)
			}
		}
	}
}

// SealsWith is the name of the key with which nginx seals now.
func (n *Node) SealsWith(t *testing.T) fleet.KeyName {
	t.Helper()
	return n.TakeTicket(t, tls.VersionTLS13).Key
}

// visit makes one connection and reads the answer, so that the tickets of TLS
// 1.3, which come after the handshake, are taken in.
func (n *Node) visit(version uint16, jar *heldTicket) (resumed bool, err error) {
	d := tls.Dialer{NetDialer: &net.Dialer{}, Config: &tls.Config{
		MinVersion: version, MaxVersion: version, ServerName: serverName, RootCAs: n.fleet.Roots, ClientSessionCache: jar,
	}}
	ctx, cancel := context.WithTimeout(context.Background(), settle)
	defer cancel()
	c, err := d.DialContext(ctx, "tcp", n.Nginx.TLSAddrs[0])
	if err != nil {
		return false, err
	}
	conn, ok := c.(*tls.Conn)
	if !ok {
		return false, fmt.Errorf("connection is a %T", c)
	}
	_, err = io.WriteString(conn, "GET / HTTP/1.0\r\nHost: "+serverName+"\r\n\r\n")
	if err == nil {
		_, err = io.Copy(io.Discard, conn)
	}
	if closeErr := conn.Close(); err == nil && closeErr != nil && !strings.Contains(closeErr.Error(), "broken pipe") {
		err = closeErr
	}
	return conn.ConnectionState().DidResume, err
}

// heldTicket is a tls.ClientSessionCache that always offers the same ticket
// and keeps the first that it is given.
type heldTicket struct {
	offer, got *tls.ClientSessionState
}

func (h *heldTicket) Get(string) (*tls.ClientSessionState, bool) { return h.offer, h.offer != nil }

func (h *heldTicket) Put(_ string, s *tls.ClientSessionState) {
	if h.got == nil {
		h.got = s
	}
}

// Traffic is clients that come back all the time, each time to another node
// with the ticket of the last one.
type Traffic struct {
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu     sync.Mutex
	counts lab.Counts
	first  error // why the first broken connection broke
}

// StartTraffic starts one client for each TLS version, which runs until
// Traffic.Stop.
func (f *Fleet) StartTraffic(t *testing.T) *Traffic {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	tr := &Traffic{stop: cancel}
	for _, v := range versions {
		c := lab.NewClient(v, serverName, f.Roots, f.inTurn())
		tr.wg.Go(func() { tr.visit(ctx, c) })
	}
	t.Cleanup(func() { cancel(); tr.wg.Wait() })
	return tr
}

// inTurn dials one node after the other.
func (f *Fleet) inTurn() func(context.Context) (net.Conn, error) {
	next := 0
	return func(ctx context.Context) (net.Conn, error) {
		n := f.Nodes[next%len(f.Nodes)]
		next++
		return (&net.Dialer{}).DialContext(ctx, "tcp", n.Nginx.TLSAddrs[0])
	}
}

func (tr *Traffic) visit(ctx context.Context, c *lab.Client) {
	pause := time.NewTicker(5 * time.Millisecond)
	defer pause.Stop()
	for ctx.Err() == nil {
		a := c.Connect(context.WithoutCancel(ctx))
		tr.mu.Lock()
		tr.counts.Add(a)
		if a.Err != nil && tr.first == nil {
			tr.first = a.Err
		}
		tr.mu.Unlock()
		<-pause.C
	}
}

// Stop ends the clients and fails the test if one of them lost a resumption or
// a connection, or if there were hardly any.
func (tr *Traffic) Stop(t *testing.T) lab.Counts {
	t.Helper()
	tr.stop()
	tr.wg.Wait()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.counts.Lost > 0 || tr.counts.Broken > 0 || tr.counts.Resumed < 20 {
		t.Errorf("traffic = %+v, want none lost or broken of at least 20; first error: %v", tr.counts, tr.first)
	}
	return tr.counts
}
