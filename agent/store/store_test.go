package store_test

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/consul"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/agent/ticket"
)

// soon is how long a test waits for what takes milliseconds.
const soon = 30 * time.Second

// world is a fleet of its own on a real Consul.
type world struct {
	*store.Store
	name    string
	addr    string
	keyring *seal.Keyring
	client  *api.Client
}

func newWorld(tb testing.TB, addr, token string) world {
	tb.Helper()
	kr, err := seal.Generate(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	w := world{name: testkit.FleetName(tb), keyring: kr}
	return w.at(tb, addr, token)
}

// at is the same fleet, reached elsewhere or with another token.
func (w world) at(tb testing.TB, addr, token string) world {
	tb.Helper()
	s, err := store.Open(store.Config{Address: addr, Token: token, Fleet: w.name, Log: testkit.Logger(tb)}, w.keyring)
	if err != nil {
		tb.Fatal(err)
	}
	pace := consul.DefaultPace()
	pace.MinRetry, pace.MaxRetry = 20*time.Millisecond, 100*time.Millisecond
	store.SetPace(s, pace)
	return world{Store: s, name: w.name, addr: addr, keyring: w.keyring, client: s.Client()}
}

func shared(tb testing.TB) world {
	tb.Helper()
	return newWorld(tb, testkit.SharedConsul(tb).Addr, "")
}

func (w world) key(path string) string { return "tlsfleet/" + w.name + "/" + path }

// put writes raw bytes, as somebody with a Consul token and no keyring can.
func (w world) put(tb testing.TB, path string, value []byte) {
	tb.Helper()
	if _, err := w.client.KV().Put(&api.KVPair{Key: w.key(path), Value: value}, nil); err != nil {
		tb.Fatal(err)
	}
}

func (w world) index(tb testing.TB, path string) uint64 {
	tb.Helper()
	pair, _, err := w.client.KV().Get(w.key(path), nil)
	if err != nil {
		tb.Fatal(err)
	}
	if pair == nil {
		return 0
	}
	return pair.ModifyIndex
}

// ring is a valid ring with this epoch.
func ring(tb testing.TB, epoch uint64) fleet.Ring {
	tb.Helper()
	now := time.Now()
	fresh := make([]fleet.TicketKey, 2)
	for i := range fresh {
		k, err := ticket.NewKey(rand.Reader, now)
		if err != nil {
			tb.Fatal(err)
		}
		fresh[i] = k
	}
	r, err := ticket.Create(ticket.Change{Now: now, By: "test", Cause: fleet.CauseCreated, Fresh: fresh, Keep: 2, MinEpoch: epoch - 1})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// create puts a first ring with this epoch.
func (w world) create(tb testing.TB, epoch uint64) store.RingRecord {
	tb.Helper()
	rec, err := w.PutRing(tb.Context(), ring(tb, epoch), w.index(tb, "tickets/ring"), "")
	if err != nil {
		tb.Fatal(err)
	}
	return rec
}

// lead takes the leader lock and returns its session.
func (w world) lead(tb testing.TB, node string) string {
	tb.Helper()
	s, err := consul.OpenSession(tb.Context(), w.client, consul.SessionOptions{
		Name: tb.Name(), TTL: time.Hour, Behavior: api.SessionBehaviorRelease,
	})
	if err != nil {
		tb.Fatal(err)
	}
	testkit.Eventually(tb, soon, "the leader lock", func() error {
		ok, _, err := w.client.KV().Acquire(&api.KVPair{Key: w.LeaderKey(), Value: []byte(node), Session: s.ID()}, nil)
		if err == nil && !ok {
			err = fmt.Errorf("acquire refused")
		}
		return err
	})
	return s.ID()
}

func (w world) destroy(tb testing.TB, session string) {
	tb.Helper()
	if _, err := w.client.Session().Destroy(session, nil); err != nil {
		tb.Fatal(err)
	}
}

// token makes a token with these rules only.
func token(tb testing.TB, server *testkit.ConsulServer, rules string) string {
	tb.Helper()
	acl := server.Client(tb).ACL()
	policy, _, err := acl.PolicyCreate(&api.ACLPolicy{Name: testkit.FleetName(tb), Rules: rules}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	t, _, err := acl.TokenCreate(&api.ACLToken{Policies: []*api.ACLTokenPolicyLink{{ID: policy.ID}}}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return t.SecretID
}
