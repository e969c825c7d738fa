package issuer

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-acme/lego/v4/acme"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// TestACertificateTakesSevenRequests counts them at a CA that has done what it
// began when it answers, so that nothing has to be looked at twice.
func TestACertificateTakesSevenRequests(t *testing.T) {
	w, proxy, ca := proxied(t, testkit.PebbleOptions{})
	c, aside := w.connect(t.Context(), t, ca), w.connect(t.Context(), t, w.ca())
	var n note
	past := func(url string) string { // the proxy, which counts
		return strings.Replace(url, strings.TrimSuffix(ca.Directory, "/dir"), strings.TrimSuffix(w.Directory, "/dir"), 1)
	}
	order := func() (acme.ExtendedOrder, error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		return aside.core.Orders.Get(past(n.url))
	}
	validated := func() error {
		o, err := order()
		if err != nil {
			return err
		}
		authz, err := aside.core.Authorizations.Get(past(o.Authorizations[0]))
		if err == nil && authz.Status != acme.StatusValid {
			err = errors.New("the authorization is " + authz.Status)
		}
		return err
	}
	issued := func() error {
		o, err := order()
		if err == nil && o.Status != acme.StatusValid {
			err = errors.New("the order is " + o.Status)
		}
		return err
	}
	late := func(done func() error) testkit.Fault {
		return func(rw http.ResponseWriter, r *http.Request, pass http.Handler) {
			answer := httptest.NewRecorder()
			pass.ServeHTTP(answer, r)
			testkit.Eventually(t, 50*time.Second, "the CA to be done", done)
			for name, values := range answer.Header() {
				rw.Header()[name] = values
			}
			rw.WriteHeader(answer.Code)
			if _, err := rw.Write(answer.Body.Bytes()); err != nil {
				panic(http.ErrAbortHandler)
			}
		}
	}
	proxy.Set(testkit.Rule{Path: "/chalZ/", Fault: late(validated)}, testkit.Rule{Path: "/finalize-order/", Fault: late(issued)})
	for i := range 3 { // the first asks for a nonce too, unless registering has left one
		before := proxy.Seen("", "")
		if _, err := c.Obtain(t.Context(), ordered(t, fmt.Sprintf("n%d.test", i)), false, Stateless{}, n.put); err != nil {
			t.Fatal(err)
		}
		if got := proxy.Seen("", "") - before; got != 7 {
			t.Errorf("certificate %d takes %d requests, want 7", i+1, got)
		}
	}
	for path, want := range map[string]int{"/order-plz": 3, "/authZ/": 6, "/chalZ/": 3, "/finalize-order/": 3, "/my-order/": 3, "/certZ/": 3} {
		if got := proxy.Seen(http.MethodPost, path); got != want {
			t.Errorf("three certificates ask %d times for %s, want %d", got, path, want)
		}
	}
}
