package issuer

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// refusals passes answers on and counts those that refuse a nonce or whatever
// else.
func refusals(n *atomic.Int32) testkit.Fault {
	return func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		answer := httptest.NewRecorder()
		pass.ServeHTTP(answer, r)
		if answer.Code == http.StatusBadRequest {
			n.Add(1)
		}
		for name, values := range answer.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(answer.Code)
		if _, err := w.Write(answer.Body.Bytes()); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// TestARefusedNonceCostsOneRequest has the CA refuse good nonces: each answer
// brings another, so it is asked for one once.
func TestARefusedNonceCostsOneRequest(t *testing.T) {
	w, proxy, ca := proxied(t, testkit.PebbleOptions{NonceReject: 20})
	var refused atomic.Int32
	proxy.Set(testkit.Rule{Method: http.MethodPost, Fault: refusals(&refused)})
	c := w.connect(t.Context(), t, ca)
	for n := 0; refused.Load() < 5; n++ {
		if _, err := obtained(t.Context(), c, ordered(t, fmt.Sprintf("n%d.test", n)), false); err != nil {
			t.Fatal(err)
		}
	}
	if got := proxy.Seen("", "/nonce-plz"); got != 1 {
		t.Errorf("after %d refusals the CA was asked for %d nonces, want 1", refused.Load(), got)
	}
}

// TestOrdersShareNonces has several orders worked on at a time, twice.
func TestOrdersShareNonces(t *testing.T) {
	const parallel, rounds = 4, 3
	w, proxy, ca := proxied(t, testkit.PebbleOptions{})
	c := w.connect(t.Context(), t, ca)
	for round := range rounds {
		var g errgroup.Group
		for n := range parallel {
			g.Go(func() error {
				_, err := obtained(t.Context(), c, ordered(t, fmt.Sprintf("n%d-%d.test", round, n)), false)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	if got := proxy.Seen("", "/nonce-plz"); got > parallel {
		t.Errorf("the CA was asked for %d nonces, want at most %d, one for each request at a time", got, parallel)
	}
}

func TestNonces(t *testing.T) {
	now := time.Now()
	var n noncePool
	give := func(value string, at time.Time) http.Header {
		h := http.Header{nonceHeader: {value}}
		n.keep(h, at)
		return h
	}
	take := func(at time.Time, want string) {
		t.Helper()
		if got, ok := n.take(at); got != want || ok != (want != "") {
			t.Errorf("take() = %q, %v, want %q", got, ok, want)
		}
	}
	take(now, "")
	if h := give("a", now); h.Get(nonceHeader) != "" {
		t.Error("keep() leaves the nonce for another to use")
	}
	give("b", now)
	give("not base64url", now) // RFC 8555, section 6.5.1
	take(now, "b")
	take(now, "a")
	take(now, "")
	give("old", now)
	take(now.Add(nonceLife+1), "")
	take(now, "")
	for i := range mostNonces + 1 {
		give(fmt.Sprint(i), now)
	}
	if len(n.kept) != mostNonces {
		t.Errorf("%d nonces are kept, want at most %d", len(n.kept), mostNonces)
	}
}
