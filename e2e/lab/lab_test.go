package lab

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// keyedFleet is a running fleet in which node i seals with key i of keys, and
// opens with nothing else.
func keyedFleet(t *testing.T, keys ...[]byte) *Fleet {
	t.Helper()
	f := NewFleet(t, len(keys))
	for i, n := range f.Nodes {
		giveKey(t, n, keys[i])
	}
	f.Start(t)
	return f
}

func giveKey(t *testing.T, n *Node, key []byte) {
	t.Helper()
	file := filepath.Join(n.Nginx.Dir, "ticket.key")
	if err := os.WriteFile(file, key, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := n.WriteConfig("tickets.conf", "ssl_session_ticket_key "+file+";\n"); err != nil {
		t.Fatal(err)
	}
}

func newKey() []byte {
	key := make([]byte, 80)
	rand.Read(key)
	return key
}

// visits runs a load until it has made want attempts.
func visits(t *testing.T, f *Fleet, want int) map[uint16]Counts {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var mu sync.Mutex
	counts := map[uint16]Counts{}
	Load{Dial: f.Bounce, Name: ServerName, Roots: f.Roots, Rate: 200, Record: func(a Attempt) {
		mu.Lock()
		defer mu.Unlock()
		c := counts[a.Version]
		c.Add(a)
		counts[a.Version] = c
		if a.Err != nil {
			t.Errorf("Connect() error = %v", a.Err)
		}
		if counts[tls.VersionTLS12].Attempts >= want && counts[tls.VersionTLS13].Attempts >= want {
			cancel()
		}
	}}.Run(ctx)
	return counts
}

func TestLoadSeesEveryTicketKeptByOneKey(t *testing.T) {
	t.Parallel()
	key := newKey()
	for version, c := range visits(t, keyedFleet(t, key, key, key), 100) {
		if c.Attempts < 100 || c.Lost != 0 || c.Resumed != c.Attempts {
			t.Errorf("counts of %s = %+v, want 100 attempts or more, none lost", tls.VersionName(version), c)
		}
	}
}

func TestLoadSeesEveryTicketLostByAKeyPerNode(t *testing.T) {
	t.Parallel()
	for version, c := range visits(t, keyedFleet(t, newKey(), newKey(), newKey()), 100) {
		if c.Attempts < 100 || c.Resumed != 0 || c.Lost != c.Attempts {
			t.Errorf("counts of %s = %+v, want 100 attempts or more, all lost", tls.VersionName(version), c)
		}
	}
}

func TestReloadsCountsNewGenerationsOnly(t *testing.T) {
	t.Parallel()
	f := keyedFleet(t, newKey())
	n := f.Nodes[0]
	for want := 1; want <= 2; want++ {
		before := reloads(t, f)
		n.Nginx.Signal(t, syscall.SIGHUP)
		if _, err := f.AwaitReloads(t.Context(), before); err != nil {
			t.Fatal(err)
		}
		if got := reloads(t, f)[0]; got != want {
			t.Fatalf("Reloads() after %d reloads = %d", want, got)
		}
	}
	giveKey(t, n, make([]byte, 47)) // nginx refuses the size
	n.Nginx.Signal(t, syscall.SIGHUP)
	testkit.Eventually(t, 10*time.Second, "nginx to refuse", func() error {
		if !strings.Contains(n.Nginx.ErrorLog(), "must be 48 or 80 bytes") {
			return errors.New("not logged yet")
		}
		return nil
	})
	if got := reloads(t, f)[0]; got != 2 {
		t.Errorf("Reloads() after a refused reload = %d, want 2", got)
	}
}

func reloads(t *testing.T, f *Fleet) []int {
	t.Helper()
	n, err := f.Reloads()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRoundRobinReachesEveryNode(t *testing.T) {
	t.Parallel()
	f := keyedFleet(t, newKey(), newKey(), newKey())
	c := NewClient(tls.VersionTLS13, ServerName, f.Roots, f.RoundRobin(0))
	for i := range 6 {
		want := Lost // each node has a key of its own
		if i == 0 {
			want = Full
		}
		if a := c.Connect(t.Context()); a.Outcome != want || !a.Ticket {
			t.Errorf("Connect() %d = %+v, want outcome %d and a new ticket", i, a, want)
		}
	}
}

func TestClientSeesTheCertificateOfItsName(t *testing.T) {
	t.Parallel()
	ca, err := NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Issue(key, time.Now().Add(time.Hour), "a-shop.test")
	if err != nil {
		t.Fatal(err)
	}
	f := NewFleet(t, 2)
	file := filepath.Join(f.Nodes[1].Nginx.Dir, "shop.pem")
	if err := os.WriteFile(file, cert.PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	server := "server {\nlisten " + f.Nodes[1].Nginx.TLSAddrs[0] + " ssl;\nserver_name a-shop.test;\nssl_certificate " + file + ";\nssl_certificate_key " + file + ";\n}\n"
	if err := f.Nodes[1].WriteConfig("shop.conf", server); err != nil {
		t.Fatal(err)
	}
	f.Start(t)
	for version := range map[uint16]bool{tls.VersionTLS12: true, tls.VersionTLS13: true} {
		if a := NewClient(version, "a-shop.test", ca.Roots, f.Direct(1)).Connect(t.Context()); a.Outcome != Full || a.Serial != cert.Serial {
			t.Errorf("Connect() = %+v, want serial %s", a, cert.Serial)
		}
		if a := NewClient(version, "a-shop.test", ca.Roots, f.Direct(0)).Connect(t.Context()); a.Outcome != Broken || a.Serial != "" {
			t.Errorf("Connect() to a node without the certificate = %+v, want it broken", a)
		}
		if a := NewClient(version, "a-shop.test", f.Roots, f.Direct(1)).Connect(t.Context()); a.Outcome != Broken {
			t.Errorf("Connect() with other roots = %+v, want it broken", a)
		}
	}
}
