package issuer

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// world is a real Pebble, and a real nginx that answers its challenges as the
// rendered configuration does.
type world struct {
	*testkit.PebbleServer
	key *ecdsa.PrivateKey
}

func newWorld(t *testing.T, o testkit.PebbleOptions) world {
	t.Helper()
	secret, err := NewAccountKey()
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParseKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	thumbprint, err := Thumbprint(key)
	if err != nil {
		t.Fatal(err)
	}
	o.HTTPPort = testkit.FreePort(t, "127.0.0.1")
	nginx := testkit.NewNginx(t, testkit.NginxOptions{NoInclude: true, HTTP: fmt.Sprintf(`
	server {
		listen 127.0.0.1:%d;
		location ~ "^/\.well-known/acme-challenge/([A-Za-z0-9_-]+)$" {
			default_type text/plain;
			return 200 "$1.%s";
		}
	}`, o.HTTPPort, thumbprint)})
	nginx.Start(t)
	return world{testkit.Pebble(t, o), key}
}

func (w world) ca() CA { return CA{Name: "pebble", Directory: w.Directory, RootFile: w.RootFile} }

func (w world) connect(ctx context.Context, t *testing.T, ca CA) *Client {
	t.Helper()
	c, err := Connect(ctx, ca, w.key, "")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// reconnect is connect for an account that is known: the CA has given no nonce
// so far.
func (w world) reconnect(t *testing.T, ca CA, account string) *Client {
	t.Helper()
	c, err := Connect(t.Context(), ca, w.key, account)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ordered is an item whose key and CSR are journaled.
func ordered(t *testing.T, names ...string) issuance.Item {
	t.Helper()
	now := time.Now()
	it, err := issuance.New(names, "", "", now)
	if err != nil {
		t.Fatal(err)
	}
	return orderedItem(t, it)
}

func orderedItem(t *testing.T, it issuance.Item) issuance.Item {
	t.Helper()
	now := time.Now()
	it, err := it.Begin(now)
	if err != nil {
		t.Fatal(err)
	}
	o, err := NewOrder(it, "pebble")
	if err != nil {
		t.Fatal(err)
	}
	if it, err = it.Place(o, now); err != nil {
		t.Fatal(err)
	}
	return it
}

// note keeps an order's URL.
type note struct {
	mu  sync.Mutex
	url string
}

func (n *note) put(url string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.url = url
	return nil
}

func secret(s string) fleet.Secret { return fleet.NewSecret([]byte(s)) }
