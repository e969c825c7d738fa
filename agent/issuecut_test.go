package agent

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/issuer"
	"github.com/tlsfleet/tlsfleet/agent/notify"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// TestACutOrderGoesOnByItself cuts connections to the CA at each step of an order,
// before and after the CA has acted.
func TestACutOrderGoesOnByItself(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	w.leader(t)
	w.answering(t)
	w.add(t, "first.test") // makes the account
	w.await(t, "first.test", "issued", isState(issuance.Issued))
	tests := []struct {
		name, path string
		fault      testkit.Fault
	}{
		{"a.test", "/order-plz", testkit.Cut}, {"b.test", "/order-plz", testkit.Truncate}, {"c.test", "/order-plz", testkit.Lost},
		{"d.test", "/my-order", testkit.Truncate}, {"e.test", "/authZ", testkit.Cut}, {"f.test", "/chalZ", testkit.Lost},
		{"g.test", "/finalize-order", testkit.Lost}, {"h.test", "/certZ", testkit.Truncate},
	}
	for _, tt := range tests {
		var cut atomic.Bool // a step that is not taken cannot be cut
		w.proxy.Set(testkit.Rule{Method: http.MethodPost, Path: tt.path, Times: 1, Fault: func(rw http.ResponseWriter, r *http.Request, pass http.Handler) {
			cut.Store(true)
			tt.fault(rw, r, pass)
		}})
		w.add(t, tt.name)
		d := w.await(t, tt.name, "cut", func(d DomainStatus) bool { return d.State == issuance.Waiting || d.State == issuance.Issued })
		if d.State == issuance.Waiting && (d.Failures != 0 || d.Failure.Class != issuance.Cut) {
			t.Errorf("a connection cut at %s counts as a failure: %+v", tt.path, d)
		}
		w.await(t, tt.name, "issued", isState(issuance.Issued))
		if !cut.Load() {
			t.Errorf("nothing was asked of %s", tt.path)
		}
		w.awaitTold(t, tt.name, notify.Issued)
		if told := w.allTold(tt.name); len(told) > 1 {
			t.Errorf("receivers were told %s after a cut at %s, want of the certificate only", told, tt.path)
		}
	}
	w.wantCounts(t, 1, len(tests)+1, len(tests)+1)
}

// TestTheFourthCutIsTheCAs has an order be cut once more than is tried quickly.
func TestTheFourthCutIsTheCAs(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	w.journal(t, func(now time.Time) issuance.Item {
		it := beginning(t, now, "a.test")
		o, err := issuer.NewOrder(it, "pebble")
		if err != nil {
			t.Fatal(err)
		}
		o.Cuts = 3
		if it, err = it.Place(o, now); err != nil {
			t.Fatal(err)
		}
		return it
	})
	w.proxy.Set(testkit.Rule{Method: http.MethodPost, Path: "/order-plz", Fault: testkit.Cut})
	w.leader(t)
	w.answering(t)
	d := w.await(t, "a.test", "waiting", isState(issuance.Waiting))
	if wait := d.Next.Sub(w.now()); d.Failure.Class != issuance.CADown || wait < 4*time.Minute || d.Failures != 0 {
		t.Errorf("Domain() = %+v, next in %s, want the CA down, 5 minutes and no failure of the name", d, wait)
	}
	w.proxy.Set()
	if err := w.console.RetryDomains(t.Context(), []string{"a.test"}, "test"); err != nil {
		t.Fatal(err)
	}
	w.await(t, "a.test", "issued", isState(issuance.Issued))
	w.wantCounts(t, 1, 1, 1)
}
