package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/handlers"
)

// sitesState is what `tlsfleet status` says of the sites.
func (f *Fleet) sitesState(t *testing.T) (agent.SitesState, error) {
	t.Helper()
	var s struct {
		Sites *agent.SitesState `json:"sites"`
	}
	if err := f.askJSON(t, &s, "status"); err != nil {
		return agent.SitesState{}, err
	}
	if s.Sites == nil || s.Sites.Wave == nil {
		return agent.SitesState{Wave: &handlers.Wave{}}, nil
	}
	return *s.Sites, nil
}

// AwaitWave waits for a state of the wave.
func (f *Fleet) AwaitWave(t *testing.T, what string, cond func(handlers.Wave) bool) handlers.Wave {
	t.Helper()
	var last handlers.Wave
	testkit.Eventually(t, 3*settle, what, func() error {
		s, err := f.sitesState(t)
		if err == nil {
			if last = *s.Wave; !cond(last) {
				err = fmt.Errorf("wave is %+v", last)
			}
		}
		return err
	})
	return last
}

// setFile is sites in a file.
func setFile(t *testing.T, text string) string {
	t.Helper()
	path := t.TempDir() + "/sites.hcl"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// nodeNamed is one of the fleet's nodes.
func (f *Fleet) nodeNamed(t *testing.T, name string) *Node {
	t.Helper()
	i := slices.IndexFunc(f.Nodes, func(n *Node) bool { return n.Name == name })
	if i < 0 {
		t.Fatalf("no node has the name %q", name)
	}
	return f.Nodes[i]
}

// saidAt is when the first line of a node's log has all of the words.
func saidAt(t *testing.T, n *Node, words ...string) time.Time {
	t.Helper()
	for line := range strings.Lines(n.Agent.Log()) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			when, err := time.Parse("2006-01-02T15:04:05.000Z0700", logTime.FindString(line))
			if err != nil {
				t.Fatal(err)
			}
			return when
		}
	}
	return time.Time{}
}

// wantCanaryFirst wants that nobody has read an epoch before its canary had
// proved it, but for canaries that it took the place of.
func (f *Fleet) wantCanaryFirst(t *testing.T, w handlers.Wave) {
	t.Helper()
	epoch := fmt.Sprintf("epoch=%d ", w.Epoch)
	if len(w.Canaries) != 1 {
		t.Fatalf("canaries of %+v, want one", w)
	}
	proved := saidAt(t, f.nodeNamed(t, w.Canaries[0]), "sites proved", epoch)
	for _, n := range f.Nodes {
		if n.Name == w.Canaries[0] || slices.Contains(w.Spent, n.Name) {
			continue
		}
		if read := saidAt(t, n, "sites read", epoch); read.IsZero() || proved.IsZero() || read.Before(proved) {
			t.Errorf("%s has read the sites at %s, and the canary %s had proved them at %s", n.Name, read, w.Canaries[0], proved)
		}
	}
}

// holdSlot takes the fleet's only slot, so that no node reloads until it is given back.
func (f *Fleet) holdSlot(t *testing.T) (give func()) {
	t.Helper()
	client := f.Consul.Client(t)
	session, _, err := client.Session().Create(&api.SessionEntry{Name: t.Name(), TTL: "10m"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	slot := &api.KVPair{Key: "tlsfleet/" + f.Name + "/reload/slots/0", Value: []byte("somebody"), Session: session}
	testkit.Eventually(t, settle, "the slot", func() error {
		got, _, err := client.KV().Acquire(slot, nil)
		if err == nil && !got {
			err = errors.New("it is held")
		}
		return err
	})
	return func() {
		if _, _, err := client.KV().Release(slot, nil); err != nil {
			t.Error(err)
		}
	}
}

// heldBackend answers with a word once it is let go on; asked is closed when the
// first request comes.
func heldBackend(t *testing.T, word string) (addr string, asked <-chan struct{}, goOn func()) {
	t.Helper()
	first, open := make(chan struct{}), make(chan struct{})
	var once, opened sync.Once
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		once.Do(func() { close(first) })
		select {
		case <-open:
		case <-r.Context().Done():
			return
		}
		if _, err := io.WriteString(w, "backend "+word+"."); err != nil {
			t.Log(err)
		}
	}))
	goOn = func() { opened.Do(func() { close(open) }) }
	t.Cleanup(func() { goOn(); s.Close() })
	return s.Listener.Addr().String(), first, goOn
}

// newWaveFleet is a fleet with waves that serves a first epoch of the sites, and
// whose leader will be no canary.
func newWaveFleet(t *testing.T, s Settings) (f *Fleet, ca *CA, leader *Node) {
	t.Helper()
	f, ca = newSiteFleet(t, onShared(t, 3, with(listed, s))), newCA(t)
	f.Import(t, ca.Issue(t, 30, "shop.test"))
	f.CLI(t, "site", "set", setFile(t, siteTo("shop", "shop.test", backendThat(t, "A"), "")), "--wait").Want(t, 0)
	f.AwaitAnswer(t, ca, "shop.test", f.Nodes, "backend A.")
	leader = f.Leader(t)
	leader.Drain(t, true)
	f.Await(t, "the leader out of service", func(s Status) error {
		if st := s.Node(t, leader.Name); !st.Drained {
			return fmt.Errorf("it is %+v", st)
		}
		return nil
	})
	return f, ca, leader
}

// beginWave sets the site with another backend, and waits for its canary.
func (f *Fleet) beginWave(t *testing.T, backend string) (w handlers.Wave, canary *Node) {
	t.Helper()
	f.CLI(t, "site", "set", setFile(t, siteTo("shop", "shop.test", backend, ""))).Want(t, 0)
	w = f.AwaitWave(t, "a canary", func(w handlers.Wave) bool { return w.Epoch == 2 && len(w.Canaries) == 1 })
	return w, f.nodeNamed(t, w.Canaries[0])
}

// depose ends the leader's session, as Consul does some time after its death.
func (f *Fleet) depose(t *testing.T) {
	t.Helper()
	client := f.Consul.Client(t)
	pair, _, err := client.KV().Get("tlsfleet/"+f.Name+"/leader", nil)
	if err == nil && pair != nil && pair.Session != "" {
		_, err = client.Session().Destroy(pair.Session, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}
