package issuer

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-acme/lego/v4/acme"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// TestAwaitLearnsHowLongACATakes has a CA take as long each time, and then less.
func TestAwaitLearnsHowLongACATakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := &Client{pages: &transport{}}, &pace{}
		run := func(takes time.Duration) (looks int, late time.Duration) {
			began := time.Now()
			if err := c.await(t.Context(), p, "begun", "url", func() (bool, error) {
				looks++
				return time.Since(began) >= takes, nil
			}); err != nil {
				t.Fatal(err)
			}
			return looks, time.Since(began) - takes
		}
		for _, takes := range []time.Duration{time.Millisecond, 300 * time.Millisecond, 30 * time.Millisecond, 3 * time.Second} {
			for range 50 {
				run(takes)
			}
			if looks, late := run(takes); looks > 7 || late > takes/2+firstPoll {
				t.Errorf("await() of what takes %s = %d looks, the last %s late", takes, looks, late)
			}
		}
		for range 100 {
			run(50 * time.Millisecond)
		}
		if looks, late := run(50 * time.Millisecond); looks > 3 || late > 20*time.Millisecond {
			t.Errorf("await() of what usually takes 50ms = %d looks, the last %s late", looks, late)
		}
	})
}

// change passes an answer on with another header and text, and notes when.
type change struct {
	old, text  string
	retryAfter string

	mu sync.Mutex
	at time.Time
}

func (c *change) answer(w http.ResponseWriter, r *http.Request, pass http.Handler) {
	answer := httptest.NewRecorder()
	pass.ServeHTTP(answer, r)
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.Header().Set("Retry-After", c.retryAfter)
	w.Header().Del("Content-Length")
	w.WriteHeader(answer.Code)
	c.mu.Lock()
	c.at = time.Now()
	c.mu.Unlock()
	if _, err := w.Write(bytes.Replace(answer.Body.Bytes(), []byte(c.old), []byte(c.text), 1)); err != nil {
		panic(http.ErrAbortHandler)
	}
}

func (c *change) since() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.at)
}

// TestRetryAfterIsObeyed has the CA ask for a second's rest in each answer after
// which something is awaited.
func TestRetryAfterIsObeyed(t *testing.T) {
	const authz, order, valid = "/authZ/", "/my-order/", `"status": "valid"`
	tests := map[string]struct {
		rule   testkit.Rule
		answer *change
		next   string // what is asked for after it
	}{
		"challenge":              {testkit.Rule{Path: "/chalZ/"}, &change{}, authz},
		"authorization, pending": {testkit.Rule{Path: authz, Skip: 1}, &change{old: valid, text: `"status": "pending"`}, authz},
		"finalized":              {testkit.Rule{Path: "/finalize-order/"}, &change{}, order},
		"order, processing":      {testkit.Rule{Path: order}, &change{old: valid, text: `"status": "processing"`}, order},
	}
	w, proxy, ca := proxied(t, testkit.PebbleOptions{})
	c := w.connect(t.Context(), t, ca)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.answer.retryAfter = "1"
			tt.rule.Times, tt.rule.Fault = 1, tt.answer.answer
			var rest time.Duration
			next := testkit.Rule{Path: tt.next, Times: 1, Fault: func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
				rest = tt.answer.since()
				pass.ServeHTTP(w, r)
			}}
			if tt.next == authz {
				next.Skip = 1 // the look for the challenge
			}
			proxy.Set(tt.rule, next)
			defer proxy.Set()
			if _, err := obtained(t.Context(), c, ordered(t, strings.NewReplacer(" ", "-", ",", "").Replace(name)+".test"), false); err != nil {
				t.Fatal(err)
			}
			if rest < time.Second {
				t.Errorf("%s is asked for %s after an answer that wants a second's rest", tt.next, rest)
			}
		})
	}
}

// TestAFinishedAnswerIsTaken has the CA answer to the CSR when the certificate is
// there (RFC 8555, section 7.4).
func TestAFinishedAnswerIsTaken(t *testing.T) {
	w, proxy, ca := proxied(t, testkit.PebbleOptions{})
	c, other := w.connect(t.Context(), t, ca), w.connect(t.Context(), t, ca)
	var n note
	looks := 0
	proxy.Set(testkit.Rule{Path: "/finalize-order/", Fault: func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		pass.ServeHTTP(httptest.NewRecorder(), r)
		var order acme.ExtendedOrder
		testkit.Eventually(t, 50*time.Second, "the certificate", func() (err error) {
			if order, err = other.core.Orders.Get(n.url); err == nil && order.Certificate == "" {
				err = errors.New("order is " + order.Status)
			}
			return err
		})
		looks = proxy.Seen("", "/my-order/")
		if err := json.NewEncoder(w).Encode(order.Order); err != nil {
			panic(http.ErrAbortHandler)
		}
	}})
	if _, err := c.Obtain(t.Context(), ordered(t, "a.test"), false, Stateless{}, n.put); err != nil {
		t.Fatal(err)
	}
	if now := proxy.Seen("", "/my-order/"); looks == 0 || now != looks {
		t.Errorf("the order is asked for %d times after it was finished, want none", now-looks)
	}
}

// TestAnOrderThatIsReadyLate has the CA refuse the CSR once: its order follows
// its authorizations late.
func TestAnOrderThatIsReadyLate(t *testing.T) {
	w, proxy, ca := proxied(t, testkit.PebbleOptions{})
	c := w.connect(t.Context(), t, ca)
	late := &change{old: `"status": "ready"`, text: `"status": "pending"`, retryAfter: "1"}
	proxy.Set(
		testkit.Rule{Path: "/finalize-order/", Times: 1, Fault: problem(http.StatusForbidden, "orderNotReady")},
		testkit.Rule{Path: "/my-order/", Times: 1, Fault: late.answer},
	)
	if _, err := obtained(t.Context(), c, ordered(t, "a.test"), false); err != nil {
		t.Fatal(err)
	}
	if n := proxy.Seen("", "/finalize-order/"); n != 2 {
		t.Errorf("the CSR is sent %d times, want 2", n)
	}
}
