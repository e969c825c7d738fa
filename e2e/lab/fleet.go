package lab

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// ServerName is the name the fleet serves.
const ServerName = "www.lab.test"

// Fleet is some nginx nodes that serve ServerName with the same certificate
// and the same configuration, and a balancer in front of them. The nodes have
// no ticket keys in their configuration: it includes
// <StateDir>/nginx/current/*.conf, and whoever runs the fleet puts them there.
type Fleet struct {
	Nodes    []*Node
	Balancer *Balancer
	Roots    *x509.CertPool
}

// NewFleet configures size nodes, 1 to 9, on addresses of their own, and
// starts nothing.
func NewFleet(tb testkit.TB, size int) *Fleet {
	f := &Fleet{Roots: x509.NewCertPool()}
	cert, key := testkit.SelfSigned(tb, ServerName)
	if !f.Roots.AppendCertsFromPEM(cert) {
		tb.Fatalf("read certificate: none in it")
	}
	for i := range size {
		name := fmt.Sprintf("node%d", i+1)
		f.Nodes = append(f.Nodes, &Node{Name: name, Nginx: testkit.NewNginx(tb, testkit.NginxOptions{
			Address: fmt.Sprintf("127.0.0.%d", 11+i),
			Names:   []string{ServerName},
			CertPEM: cert, KeyPEM: key,
			HTTP:   "ssl_session_timeout 1h;",
			Answer: name + "\n",
			Reject: true,
		})})
	}
	f.Balancer = newBalancer(tb, f.Nodes)
	return f
}

// Start starts the nodes and the balancer. The ticket keys are in place.
func (f *Fleet) Start(tb testkit.TB) {
	for _, n := range f.Nodes {
		n.Nginx.Start(tb)
	}
	f.Balancer.nginx.Start(tb)
}

// Bounce is how client number i reaches another node with each connection: it
// comes from another address each time, as from another network, and the
// balancer goes by the source address.
func (f *Fleet) Bounce(i int) func(ctx context.Context) (net.Conn, error) {
	last := i % len(f.Nodes)
	return func(ctx context.Context) (net.Conn, error) {
		last = otherThan(last, len(f.Nodes))
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: sourceAddress(last, i)}}
		return d.DialContext(ctx, "tcp", f.Balancer.BySource)
	}
}

// RoundRobin is how a client reaches the node whose turn it is.
func (f *Fleet) RoundRobin(i int) func(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: sourceAddress(0, i)}}
	return func(ctx context.Context) (net.Conn, error) {
		return d.DialContext(ctx, "tcp", f.Balancer.RoundRobin)
	}
}

// Direct is how clients reach one node past the balancer.
func (f *Fleet) Direct(node int) func(ctx context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", f.Nodes[node].Nginx.TLSAddrs[0])
	}
}

// Complaints are the lines of the error logs of the balancer and the nodes
// that are not mere notices.
func (f *Fleet) Complaints() []string {
	logs := []string{f.Balancer.nginx.ErrorLog()}
	for _, n := range f.Nodes {
		logs = append(logs, n.Nginx.ErrorLog())
	}
	var lines []string
	for _, l := range logs {
		for line := range strings.Lines(l) {
			if !strings.Contains(line, " [notice] ") {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
	}
	return lines
}

// Reloads is how often each node has replaced its workers since it started.
func (f *Fleet) Reloads() ([]int, error) {
	counts := make([]int, len(f.Nodes))
	for i, n := range f.Nodes {
		var err error
		if counts[i], err = n.Reloads(); err != nil {
			return nil, err
		}
	}
	return counts, nil
}

// AwaitReloads waits until every node has reloaded more often than before
// says, and returns the moment it saw that.
func (f *Fleet) AwaitReloads(ctx context.Context, before []int) (time.Time, error) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		now, err := f.Reloads()
		if err != nil {
			return time.Time{}, err
		}
		waiting := 0
		for i := range now {
			if now[i] <= before[i] {
				waiting++
			}
		}
		if waiting == 0 {
			return time.Now(), nil
		}
		select {
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("wait for %d of %d nodes to reload: %w", waiting, len(now), context.Cause(ctx))
		case <-tick.C:
		}
	}
}
