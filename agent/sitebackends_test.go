package agent

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

func storeAt(t *testing.T, server *testkit.ConsulServer, token string) *store.Store {
	t.Helper()
	keyring := filepath.Join(t.TempDir(), "keyring")
	ring, err := seal.Create(keyring)
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(store.Config{Address: server.Addr, Token: token, Fleet: testkit.FleetName(t)}, ring)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// TestFewServicesHoldConnections: so many are followed at once, also after others
// are not in use any more.
func TestFewServicesHoldConnections(t *testing.T) {
	t.Parallel()
	st := storeAt(t, testkit.SharedConsul(t), "")
	p := servicePool{wake: newWake()}
	defer p.stop()
	var want []store.Service
	for i := range mostBlocking + 5 {
		want = append(want, store.Service{Name: fmt.Sprintf("none-%02d", i)})
	}
	polled := func() (n int) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, s := range p.by {
			if s.polled {
				n++
			}
		}
		return n
	}
	for _, step := range []struct{ services, polled int }{{mostBlocking + 5, 5}, {mostBlocking + 2, 2}, {3, 0}, {mostBlocking + 5, 5}} {
		// The first ones go: those that are polled are the last.
		p.use(t.Context(), st, want[len(want)-step.services:])
		if got := polled(); got != step.polled || len(p.by) != step.services {
			t.Errorf("use(%d services) polls %d of %d, want %d", step.services, got, len(p.by), step.polled)
		}
	}
}
