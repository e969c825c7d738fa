package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// gate holds one request up, before it is carried out or after.
type gate struct {
	path  string // of the request
	text  string // in its body
	skip  int    // let so many of them pass first
	after bool

	mu      sync.Mutex
	seen    int
	reached chan struct{}
	release chan struct{}
	done    chan struct{}
}

func newGate(path, text string, skip int, after bool) *gate {
	return &gate{path: path, text: text, skip: skip, after: after, reached: make(chan struct{}), release: make(chan struct{}), done: make(chan struct{})}
}

func (g *gate) rule() testkit.Rule { return testkit.Rule{Path: g.path, Fault: g.fault} }

// mine reports whether it is the request to be held up.
func (g *gate) mine(body []byte) bool {
	if !bytes.Contains(body, []byte(g.text)) {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen++
	return g.seen == g.skip+1
}

func (g *gate) fault(w http.ResponseWriter, r *http.Request, pass http.Handler) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if !g.mine(body) {
		pass.ServeHTTP(w, r)
		return
	}
	defer close(g.done)
	rec := httptest.NewRecorder()
	if g.after {
		pass.ServeHTTP(rec, r)
	}
	close(g.reached)
	select {
	case <-g.release:
	case <-r.Context().Done():
		panic(http.ErrAbortHandler)
	}
	if !g.after {
		pass.ServeHTTP(rec, r)
	}
	maps.Copy(w.Header(), rec.Header())
	w.WriteHeader(rec.Code)
	if _, err := w.Write(rec.Body.Bytes()); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// step is where a leader ends.
type step struct {
	name   string
	consul bool // the request is to Consul, not to the CA
	path   string
	text   string
	skip   int
}

// steps are those of a certificate, in the order in which they are taken. The
// journal is written when an item is wanted, before its order, when that has a
// URL, and with the certificate.
var steps = []step{
	{"request carried out", true, "/v1/txn", "/intake/", 0},
	{"key and CSR journaled", true, "/v1/txn", "/issuance/", 1},
	{"order", false, "/order-plz", "", 0},
	{"URL of the order journaled", true, "/v1/txn", "/issuance/", 2},
	{"authorization", false, "/authZ", "", 0},
	{"challenge", false, "/chalZ", "", 0},
	{"finalization", false, "/finalize-order", "", 0},
	{"look at the order", false, "/my-order", "", 0},
	{"certificate", false, "/certZ", "", 0},
	{"certificate put into the inventory", true, "/v1/txn", "/inventory/", 0},
	{"issued in the journal", true, "/v1/txn", "/issuance/", 3},
}

// TestALeaderEndsAtEachStep ends leaders at every step of a certificate, before
// the other side has seen the request and after. The next one goes on. Leaders
// are killed, or frozen until the next one is done and then go on too, without
// the lock: nothing is ever ordered or issued twice, nor written by them.
func TestALeaderEndsAtEachStep(t *testing.T) {
	for mode, frozen := range map[string]bool{"killed": false, "frozen": true} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := newIssueWorld(t, testkit.PebbleOptions{})
			w.rules.soon = time.Hour // windows are no part of this
			session := w.lead(t)
			end := w.work(t, session)
			w.answering(t)
			names := []string{"registration.test"} // only once, so only after
			session, end = w.interrupted(t, step{"registration", false, "/sign-me-up", "", 0}, true, frozen, names[0], session, end)
			for _, s := range steps {
				for _, after := range []bool{false, true} {
					name := fmt.Sprintf("n%d.test", len(names))
					names = append(names, name)
					session, end = w.interrupted(t, s, after, frozen, name, session, end)
				}
			}
			name := "preflight.test"
			names = append(names, name)
			w.interruptedPreflight(t, frozen, name, session, end)
			want := testkit.PebbleCounts{Accounts: 1, Orders: len(names), Certificates: len(names)}
			if frozen {
				want.Orders++ // that which was on its way to the CA already
			}
			if got := w.pebble.Counts(t); got != want {
				t.Errorf("the CA has made %+v, want %+v", got, want)
			}
			w.wantServed(t, names...)
		})
	}
}

// interrupted has a leader end at a step of one name, and another go on, which it
// returns.
func (w *issueWorld) interrupted(t *testing.T, s step, after, frozen bool, name, session string, end func()) (string, func()) {
	t.Helper()
	g := newGate(s.path, s.text, s.skip, after)
	proxy := w.proxy
	if s.consul {
		proxy = w.consul
	}
	proxy.Set(g.rule())
	added := make(chan error, 1)
	go func() {
		added <- w.console.AddDomains(t.Context(), []issuance.Wish{{Names: []string{name}}}, "test", nil)
	}()
	what := fmt.Sprintf("%s, after %v", s.name, after)
	select {
	case <-g.reached:
	case <-time.After(time.Minute):
		t.Fatalf("%s: the leader does not come so far", what)
	}
	if !frozen {
		end()
	}
	w.depose(t, session)
	session = w.lead(t)
	end = w.work(t, session)
	if err := <-added; err != nil {
		t.Fatalf("%s: AddDomains() = %v", what, err)
	}
	w.await(t, name, "issued after "+what, isState(issuance.Issued))
	before := w.recordOf(t, name)
	close(g.release)
	<-g.done
	proxy.Set()
	if after := w.recordOf(t, name); after != before {
		t.Errorf("%s: the journal was written at %d after the next leader had done so at %d", what, after, before)
	}
	return session, end
}

// interruptedPreflight is interrupted for a leader whose preflight hangs.
func (w *issueWorld) interruptedPreflight(t *testing.T, frozen bool, name, session string, end func()) {
	t.Helper()
	const silent = "127.0.0.3"
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(silent, strconv.Itoa(w.pebble.HTTPPort)))
	if err != nil {
		t.Fatal(err)
	}
	w.pebble.SetAddress(t, name, silent)
	w.add(t, name)
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if !frozen {
		end()
	}
	w.depose(t, session)
	w.pebble.SetAddress(t, name, "127.0.0.1")
	w.work(t, w.lead(t))
	w.await(t, name, "issued", isState(issuance.Issued))
	if err := errors.Join(conn.Close(), l.Close()); err != nil {
		t.Error(err)
	}
}

// recordOf is when a name's journal was last written.
func (w *issueWorld) recordOf(t *testing.T, name string) uint64 {
	t.Helper()
	id := issuance.ID([]string{name})
	pair, _, err := w.store.Client().KV().Get(strings.TrimSuffix(w.store.LeaderKey(), "leader")+"issuance/"+id[:2]+"/"+id, nil)
	if err != nil || pair == nil {
		t.Fatalf("read item of %s: %v, %v", name, pair, err)
	}
	return pair.ModifyIndex
}

// wantServed fails the test unless names are issued, and served with the
// certificate that the journal says.
func (w *issueWorld) wantServed(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		it, err := w.store.Item(t.Context(), issuance.ID([]string{name}))
		if err != nil || it.State != issuance.Issued {
			t.Errorf("Item(%s) = %s, %v, want it issued", name, it.State, err)
			continue
		}
		d, err := w.console.Certificate(t.Context(), name)
		if err != nil || d.Bundle != it.Cert.Bundle || d.Source != fleet.SourceACME {
			t.Errorf("Certificate(%s) = %+v, %v, want the one of the journal", name, d, err)
		}
	}
}
