package store_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// wire passes TCP on to a server and counts the bytes.
type wire struct {
	addr     string
	up, down atomic.Int64
}

func newWire(tb testing.TB, target string) *wire {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	w := &wire{addr: l.Addr().String()}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { w.pass(tb, c, target) })
		}
	})
	tb.Cleanup(func() {
		if err := l.Close(); err != nil {
			tb.Error(err)
		}
		conns.Wait()
	})
	return w
}

// pass serves one connection until the client or the end of the test closes it.
func (w *wire) pass(tb testing.TB, c net.Conn, target string) {
	server, err := net.Dial("tcp", target)
	if err != nil {
		tb.Error(err)
		return
	}
	end := context.AfterFunc(tb.Context(), func() { shut(c, server) })
	defer end()
	var both sync.WaitGroup
	both.Go(func() { copyCounted(server, c, &w.up); shut(c, server) })
	both.Go(func() { copyCounted(c, server, &w.down); shut(c, server) })
	both.Wait()
}

// shut closes both ends; one that is closed already is as good.
func shut(ends ...net.Conn) {
	for _, c := range ends {
		_ = c.Close() //nolint:errcheck // see above
	}
}

func copyCounted(to io.Writer, from io.Reader, n *atomic.Int64) {
	buf := make([]byte, 32<<10)
	for {
		size, err := from.Read(buf)
		n.Add(int64(size))
		if _, bad := to.Write(buf[:size]); err != nil || bad != nil {
			return
		}
	}
}

func (w *wire) taken() (up, down int64) { return w.up.Swap(0), w.down.Swap(0) }

// inventoryOf fills an inventory with n names of as many domains, in
// certificates of up to 100 names.
func (w world) inventoryOf(tb testing.TB, n int) []string {
	tb.Helper()
	names := make([]string, n)
	for i := range names {
		var b [5]byte
		if _, err := rand.Read(b[:]); err != nil {
			tb.Fatal(err)
		}
		names[i] = fmt.Sprintf("www.%s-%d.com", hex.EncodeToString(b[:]), i)
	}
	base := time.Now()
	var certs []store.Certificate
	for at := 0; at < n; at += 100 {
		part := names[at:min(at+100, n)]
		c := certificate(tb, part[0])
		c.Names = part
		c.Entry.Changed = base.Add(-time.Duration(at) * time.Minute)
		c.Entry.NotAfter = c.Entry.Changed.Add(90 * 24 * time.Hour)
		certs = append(certs, c)
	}
	start := time.Now()
	done := w.edit(tb, put(certs...))
	tb.Logf("%d names in %d transactions, %s", n, done.Epoch, time.Since(start).Round(time.Millisecond))
	return names
}

// TestChangeOnTheWire follows single changes as a node does: the head it
// blocks on, the shard, the bundle.
func TestChangeOnTheWire(t *testing.T) {
	const most = 10 << 10
	for _, n := range []int{1000, 100_000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			if testing.Short() && n > 1000 {
				t.Skip("long")
			}
			server := testkit.SharedConsul(t)
			w := shared(t)
			names := w.inventoryOf(t, n)
			for _, name := range names[n-n/50:] { // the shards' epochs come apart, as over the days
				w.edit(t, remove(name))
			}
			wire := newWire(t, server.Addr)
			node := w.at(t, wire.addr, "")
			heads := make(chan store.HeadRecord, 16)
			ctx, cancel := context.WithCancel(t.Context())
			watched := make(chan error, 1)
			go func() {
				watched <- node.WatchHead(ctx, func(rec store.HeadRecord, err error) {
					if err != nil {
						t.Errorf("WatchHead: %v", err)
					}
					heads <- rec
				})
			}()
			last := <-heads
			const changes = 4
			for i := range changes + 1 {
				cert := certificate(t, names[i])
				w.edit(t, put(cert))
				start := time.Now()
				next := <-heads
				numbers := inventory.Changed(last.Head, next.Head)
				shards, bad, err := node.Shards(t.Context(), numbers)
				if err != nil || len(bad) > 0 || len(shards) != 1 {
					t.Fatalf("Shards(%v) = %d, %v, %v, want one", numbers, len(shards), bad, err)
				}
				e, _ := shards[0].Shard.Lookup(names[i])
				b, err := node.Bundle(t.Context(), e.Bundle)
				if err != nil || bundle.Hash(b) != bundle.Hash(cert.Bundle) {
					t.Fatalf("Bundle() = %v, want what was put", err)
				}
				last = next
				up, down := wire.taken()
				t.Logf("change %d: %d bytes up, %d down, %s; sealed: head %d, shard %d (%d entries)",
					i, up, down, time.Since(start).Round(10*time.Microsecond), len(next.Sealed), len(shards[0].Sealed), len(shards[0].Shard.Entries))
				if i > 0 && up+down > most { // the first one brings the head before and the chain too
					t.Errorf("a change took %d bytes, want at most %d", up+down, most)
				}
			}
			cancel()
			if err := <-watched; err != nil {
				t.Errorf("WatchHead() = %v, want nil when the context ends", err)
			}
		})
	}
}
