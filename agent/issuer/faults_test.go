package issuer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// problem answers as a CA that refuses (RFC 8555, section 6.7).
func problem(code int, typ string) testkit.Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(code)
		if _, err := fmt.Fprintf(w, `{"type":%q,"detail":"broken by a rule","status":%d}`, problemPrefix+typ, code); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// proxied is a world whose CA is reached through a proxy.
func proxied(t *testing.T, o testkit.PebbleOptions) (world, *testkit.Proxy, CA) {
	t.Helper()
	w := newWorld(t, o)
	proxy, directory := w.Proxy(t)
	ca := w.ca()
	ca.Directory = directory
	return w, proxy, ca
}

// obtained is an item whose order is noted, and what became of it.
func obtained(ctx context.Context, c *Client, it issuance.Item, again bool) (issuance.Item, error) {
	_, err := c.Obtain(ctx, it, again, Stateless{}, func(url string) (err error) {
		it, err = it.Placed(url, time.Now())
		return err
	})
	return it, err
}

// TestWhatARefusalLeavesOfAnOrder: an order is given up only if the CA can have
// none, or none that leads anywhere.
func TestWhatARefusalLeavesOfAnOrder(t *testing.T) {
	w, proxy, ca := proxied(t, testkit.PebbleOptions{Blocked: []string{"blocked.test"}})
	w.SetAddress(t, "elsewhere.test", "127.0.0.2") // nobody listens there
	tests := map[string]struct {
		name string
		rule testkit.Rule
		over bool
	}{
		"refused":                  {"blocked.test", testkit.Rule{}, true},
		"limited":                  {"a.test", testkit.Rule{Path: "/order-plz", Fault: problem(429, "rateLimited")}, true},
		"answer lost":              {"b.test", testkit.Rule{Path: "/order-plz", Fault: testkit.Lost}, false},
		"HTML":                     {"c.test", testkit.Rule{Path: "/order-plz", Fault: testkit.Body("<html>")}, false},
		"503":                      {"d.test", testkit.Rule{Path: "/order-plz", Fault: testkit.Status(503)}, false},
		"not validated":            {"elsewhere.test", testkit.Rule{}, true},
		"503 while it is awaited":  {"e.test", testkit.Rule{Path: "/my-order", Fault: testkit.Status(503)}, false},
		"{} while it is awaited":   {"f.test", testkit.Rule{Path: "/my-order", Fault: testkit.Body("{}")}, false},
		"503 for its certificate":  {"g.test", testkit.Rule{Path: "/certZ", Fault: testkit.Status(503)}, false},
		"429 without any problem":  {"h.test", testkit.Rule{Path: "/finalize-order", Fault: testkit.Status(429)}, false},
		"no nonce for its account": {"i.test", testkit.Rule{Path: "/nonce-plz", Fault: testkit.Status(500)}, false},
	}
	account := w.connect(t.Context(), t, ca).Account()
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := w.reconnect(t, ca, account)
			if tt.rule.Fault != nil {
				proxy.Set(tt.rule)
			}
			defer proxy.Set()
			_, err := obtained(t.Context(), c, ordered(t, tt.name), false)
			if err == nil {
				t.Fatal("Obtain() = nil, want an error")
			}
			if f, ok := FailureOf(t.Context(), "pebble", err); !ok || f.Over != tt.over {
				t.Errorf("FailureOf(%v) = %+v, want over %v", err, f, tt.over)
			}
		})
	}
}

// TestAnInvalidOrderIsOver has a leader take over an order that the CA has given
// up.
func TestAnInvalidOrderIsOver(t *testing.T) {
	w := newWorld(t, testkit.PebbleOptions{})
	w.SetAddress(t, "a.test", "127.0.0.2") // nobody listens there
	it, err := obtained(t.Context(), w.connect(t.Context(), t, w.ca()), ordered(t, "a.test"), false)
	if err == nil || it.Order.URL == "" {
		t.Fatalf("Obtain() = %v of order %q, want a failure of an order that was placed", err, it.Order.URL)
	}
	w.SetAddress(t, "a.test", "127.0.0.1")
	_, err = obtained(t.Context(), w.connect(t.Context(), t, w.ca()), it, true)
	f, ok := FailureOf(t.Context(), "pebble", err)
	if !ok || !f.Over || f.Class != issuance.Recoverable || f.Type != "connection" {
		t.Errorf("Obtain() of an invalid order = %v, a failure %+v, want a recoverable one with its cause", err, f)
	}
}

// TestAnOrderThatIsGoneIsMadeAnew has the journal hold orders that the CA does
// not know, or that are another account's.
func TestAnOrderThatIsGoneIsMadeAnew(t *testing.T) {
	w, _, ca := proxied(t, testkit.PebbleOptions{})
	c := w.connect(t.Context(), t, ca)
	known, err := obtained(t.Context(), c, ordered(t, "a.test"), false)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := NewAccountKey()
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParseKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	other, err := Connect(t.Context(), ca, key, "")
	if err != nil {
		t.Fatal(err)
	}
	// It fails for its challenges, which are answered for the first account only.
	foreign, err := obtained(t.Context(), other, ordered(t, "b.test"), false)
	if err == nil || foreign.Order.URL == "" {
		t.Fatalf("Obtain() for another account = %v, want an order that fails", err)
	}
	for name, url := range map[string]string{
		"unknown":       known.Order.URL[:strings.LastIndex(known.Order.URL, "/")] + "/none",
		"other account": foreign.Order.URL,
	} {
		t.Run(name, func(t *testing.T) {
			it := ordered(t, "b.test")
			it.Order.URL = url
			got, err := obtained(t.Context(), c, it, false)
			if err != nil || got.Order.URL == url {
				t.Errorf("Obtain() = %v with order %s, want another order", err, got.Order.URL)
			}
		})
	}
}

// TestAnOrderWithAnotherKeyIsRefused finishes an order, and has an item with a
// key of its own point to it.
func TestAnOrderWithAnotherKeyIsRefused(t *testing.T) {
	w := newWorld(t, testkit.PebbleOptions{})
	c := w.connect(t.Context(), t, w.ca())
	first, err := obtained(t.Context(), c, ordered(t, "a.test"), false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := obtained(t.Context(), c, first, false); err != nil {
		t.Errorf("Obtain() of an order that is valid already = %v, want its certificate", err)
	}
	it := ordered(t, "a.test")
	it.Order.URL = first.Order.URL
	_, err = obtained(t.Context(), c, it, false)
	if f, _ := FailureOf(t.Context(), "pebble", err); !errors.Is(err, ErrOther) || f.Stage != issuance.StageCheck || f.Class != issuance.Recoverable {
		t.Errorf("Obtain() = %v, a failure %+v, want %v", err, f, ErrOther)
	}
}

// TestAForeignCertificateIsRefused has the CA give a certificate of another
// order.
func TestAForeignCertificateIsRefused(t *testing.T) {
	w, proxy, ca := proxied(t, testkit.PebbleOptions{})
	c := w.connect(t.Context(), t, ca)
	var chain string
	proxy.Set(testkit.Rule{Path: "/certZ", Fault: func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		rec := httptest.NewRecorder()
		pass.ServeHTTP(rec, r)
		chain = rec.Body.String()
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		if _, err := io.WriteString(w, chain); err != nil {
			panic(http.ErrAbortHandler)
		}
	}})
	if _, err := obtained(t.Context(), c, ordered(t, "a.test"), false); err != nil {
		t.Fatal(err)
	}
	proxy.Set(testkit.Rule{Path: "/certZ", Fault: testkit.Body(chain)})
	for name, names := range map[string][]string{"the same name": {"a.test"}, "another name": {"b.test"}} {
		_, err := obtained(t.Context(), c, ordered(t, names...), false)
		if f, _ := FailureOf(t.Context(), "pebble", err); !errors.Is(err, ErrOther) || f.Stage != issuance.StageCheck || f.Class != issuance.Recoverable {
			t.Errorf("Obtain() of %s = %v, a failure %+v, want %v", name, err, f, ErrOther)
		}
	}
}

// TestAReplacementThatIsRefusedIsOrderedPlainly renews certificates that the CA
// does not know, or has for another account.
func TestAReplacementThatIsRefusedIsOrderedPlainly(t *testing.T) {
	w, proxy, ca := proxied(t, testkit.PebbleOptions{})
	c := w.connect(t.Context(), t, ca)
	for name, rule := range map[string]testkit.Rule{
		"unknown":        {},
		"other account":  {Path: "/order-plz", Times: 1, Fault: problem(403, "unauthorized")},
		"not looked up":  {Path: "/order-plz", Times: 1, Fault: problem(500, "serverInternal")},
		"replaced twice": {Path: "/order-plz", Times: 1, Fault: problem(409, "alreadyReplaced")},
	} {
		t.Run(name, func(t *testing.T) {
			if rule.Fault != nil {
				proxy.Set(rule)
			}
			defer proxy.Set()
			it := ordered(t, "a.test")
			it.Order.Replaces = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
			if _, err := obtained(t.Context(), c, it, false); err != nil {
				t.Errorf("Obtain() = %v, want a certificate", err)
			}
		})
	}
}

// TestAnOrderThatStaysPendingIsAskedForSlowly has a CA that is slow to note that
// the names are valid.
func TestAnOrderThatStaysPendingIsAskedForSlowly(t *testing.T) {
	w, proxy, ca := proxied(t, testkit.PebbleOptions{})
	ctx, end := context.WithCancel(t.Context())
	defer end()
	c := w.connect(ctx, t, ca)
	proxy.Set(testkit.Rule{Path: "/finalize-order", Fault: problem(403, "orderNotReady")}, testkit.Rule{Path: "/my-order", Fault: func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		rec := httptest.NewRecorder()
		pass.ServeHTTP(rec, r)
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.Header().Del("Content-Length")
		if _, err := io.WriteString(w, strings.Replace(rec.Body.String(), `"status": "ready"`, `"status": "pending"`, 1)); err != nil {
			panic(http.ErrAbortHandler)
		}
	}})
	done := make(chan error, 1)
	go func() {
		_, err := obtained(ctx, c, ordered(t, "a.test"), false)
		done <- err
	}()
	const looks = 12
	began := time.Now()
	testkit.Eventually(t, 50*time.Second, "the order to be looked at", func() error {
		if n := proxy.Seen(http.MethodPost, "/my-order"); n < looks {
			return fmt.Errorf("%d times so far", n)
		}
		return nil
	})
	if took := time.Since(began); took < 400*time.Millisecond {
		t.Errorf("the order was looked at %d times in %s, want pauses that grow", looks, took)
	}
	end()
	if err := <-done; err == nil {
		t.Error("Obtain() = nil, want an error")
	}
}

// TestAHangIsBounded has a CA that takes requests and answers nothing, or half.
func TestAHangIsBounded(t *testing.T) {
	_, proxy, ca := proxied(t, testkit.PebbleOptions{})
	halfway := func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		if _, err := io.WriteString(w, "{"); err != nil {
			panic(http.ErrAbortHandler)
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			panic(http.ErrAbortHandler)
		}
		testkit.Hang(w, r, nil) // to return would end the answer as if it were whole
	}
	for name, fault := range map[string]testkit.Fault{"no answer": testkit.Hang, "half an answer": halfway} {
		t.Run(name, func(t *testing.T) {
			client, requests, err := newHTTPClient(t.Context(), ca)
			if err != nil {
				t.Fatal(err)
			}
			if requests.timeout != requestTimeout {
				t.Errorf("a request may take %s, want %s", requests.timeout, requestTimeout)
			}
			requests.timeout = 2 * time.Second
			proxy.Set(testkit.Rule{Path: "/dir", Fault: fault})
			defer proxy.Set()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, ca.Directory, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if err == nil {
				t.Errorf("Do() = %s, want an error", resp.Status)
				if err := resp.Body.Close(); err != nil {
					t.Error(err)
				}
				return
			}
			if f, ok := FailureOf(t.Context(), "pebble", err); !ok || f.Class != issuance.Cut {
				t.Errorf("FailureOf(%v) = %+v, want a cut", err, f)
			}
		})
	}
}
