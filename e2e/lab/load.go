package lab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Load is many clients that resume, half of them with TLS 1.2 and half with
// TLS 1.3. Most come back soon; the others keep a ticket for longer, because a
// fleet that only loses old tickets loses resumptions too.
type Load struct {
	Dial    func(client int) func(ctx context.Context) (net.Conn, error) // the way to the fleet for one client
	Name    string                                                       // the server name to ask for
	Roots   *x509.CertPool
	Rate    float64       // connections per second, all clients together; an upper bound
	Holders float64       // share of the connections, 0 to 1, made with a ticket held long
	Hold    time.Duration // the longest such hold; they are uniform from 0
	Record  func(Attempt) // called for each connection, from many goroutines
}

// shortPause is the mean pause of a client that comes back soon.
const shortPause = 100 * time.Millisecond

// clients is how many clients come back soon, and how many hold their ticket.
func (l Load) clients() (soon, late int) {
	soon = evenAtLeast2(l.Rate * (1 - l.Holders) * shortPause.Seconds())
	if l.Holders > 0 && l.Hold > 0 {
		late = evenAtLeast2(l.Rate * l.Holders * l.Hold.Seconds() / 2)
	}
	return soon, late
}

// Ramp is the time over which the clients make their first connections: slower
// than the others, because a full handshake costs several times a resumption.
func (l Load) Ramp() time.Duration {
	const slower = 3
	soon, late := l.clients()
	return time.Duration(slower * float64(soon+late) / l.Rate * float64(time.Second))
}

// Run connects until ctx ends and every client has finished its connection.
func (l Load) Run(ctx context.Context) {
	soon, late := l.clients()
	var wg sync.WaitGroup
	for i := range soon + late {
		longest := 2 * shortPause
		if i >= soon {
			longest = l.Hold
		}
		version := uint16(tls.VersionTLS12)
		if i%2 == 1 {
			version = tls.VersionTLS13
		}
		c := NewClient(version, l.Name, l.Roots, l.Dial(i))
		wg.Go(func() { l.visit(ctx, c, longest) })
	}
	wg.Wait()
}

// visit is the life of one client: a first connection, and then one after each
// pause.
func (l Load) visit(ctx context.Context, c *Client, longest time.Duration) {
	if !pause(ctx, upTo(l.Ramp())) {
		return
	}
	for {
		// A connection that has begun is finished and counted.
		l.Record(c.Connect(context.WithoutCancel(ctx)))
		if !pause(ctx, upTo(longest)) {
			return
		}
	}
}

func upTo(d time.Duration) time.Duration {
	return rand.N(d) //nolint:gosec // any spread will do
}

// pause waits for d and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// evenAtLeast2 rounds a number of clients so that both TLS versions get half.
func evenAtLeast2(n float64) int { return max(2, 2*int(n/2+0.5)) }
