package issuer

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

func TestObtain(t *testing.T) {
	w := newWorld(t, testkit.PebbleOptions{NonceReject: 20, Profiles: map[string]int{"default": 90 * 86400, "shortlived": 6 * 86400}})
	c := w.connect(t.Context(), t, w.ca())
	short, err := issuance.New([]string{"short.test"}, "", "shortlived", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		item issuance.Item
		life time.Duration // 0: whatever the CA gives
	}{
		"one name":    {ordered(t, "a.test"), 0},
		"three names": {ordered(t, "b.test", "www.b.test", "x.b.test"), 0},
		"profile":     {orderedItem(t, short), 6 * 24 * time.Hour},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var n note
			b, err := c.Obtain(t.Context(), tt.item, false, Stateless{}, n.put)
			if err != nil {
				t.Fatalf("Obtain() = %v", err)
			}
			leaf, err := x509.ParseCertificate(b.Leaf)
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(leaf.DNSNames)
			if !slices.Equal(leaf.DNSNames, tt.item.Names) || n.url == "" || len(b.Chain) == 0 {
				t.Errorf("Obtain() = a certificate for %v of order %q with %d of a chain, want %v", leaf.DNSNames, n.url, len(b.Chain), tt.item.Names)
			}
			if life := leaf.NotAfter.Sub(leaf.NotBefore).Round(time.Hour); tt.life != 0 && life != tt.life {
				t.Errorf("Obtain() = a certificate for %s, want %s", life, tt.life)
			}
		})
	}
}

func TestOneAccountHoweverOftenItConnects(t *testing.T) {
	w := newWorld(t, testkit.PebbleOptions{})
	first, second := w.connect(t.Context(), t, w.ca()), w.connect(t.Context(), t, w.ca())
	if first.Account() != second.Account() || first.Account() == "" {
		t.Errorf("Account() = %q and %q, want the same", first.Account(), second.Account())
	}
	known, err := Connect(t.Context(), w.ca(), w.key, first.Account())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := known.Obtain(t.Context(), ordered(t, "a.test"), false, Stateless{}, new(note).put); err != nil {
		t.Errorf("Obtain() with a known account = %v", err)
	}
}

func TestExternalAccountBinding(t *testing.T) {
	const mac = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	w := newWorld(t, testkit.PebbleOptions{EABKeys: map[string]string{"kid-1": mac}})
	ca := w.ca()
	_, err := Connect(t.Context(), ca, w.key, "")
	if f, ok := FailureOf(t.Context(), "pebble", err); !ok || f.Class != issuance.CADown || f.Type != "externalAccountRequired" || f.Stage != issuance.StageAccount {
		t.Errorf("Connect() without a binding = %v, a failure %+v, want externalAccountRequired", err, f)
	}
	ca.EABKeyID, ca.EABKey = "kid-1", secret(mac)
	w.connect(t.Context(), t, ca)
}

// TestADeadLeadersOrderIsFound ends the work at each step at which a leader may
// die, and has another go on.
func TestADeadLeadersOrderIsFound(t *testing.T) {
	w := newWorld(t, testkit.PebbleOptions{})
	died := errors.New("died")
	proxy, directory := w.Proxy(t)
	ca := w.ca()
	ca.Directory = directory
	steps := map[string]struct {
		rule  testkit.Rule
		noted bool // the order's URL was journaled
	}{
		"order placed, answer lost":     {testkit.Rule{Path: "/order-plz", Fault: testkit.Lost}, false},
		"order placed, not noted":       {testkit.Rule{}, false},
		"validation asked, answer lost": {testkit.Rule{Path: "/chalZ", Fault: testkit.Lost}, true},
		"finalized, answer lost":        {testkit.Rule{Path: "/finalize-order", Fault: testkit.Lost}, true},
		"certificate lost":              {testkit.Rule{Path: "/certZ", Fault: testkit.Lost}, true},
	}
	c := w.connect(t.Context(), t, ca)
	for i := range 7 { // Pebble lists three orders on a page
		if _, err := c.Obtain(t.Context(), ordered(t, fmt.Sprintf("before%d.test", i)), false, Stateless{}, new(note).put); err != nil {
			t.Fatal(err)
		}
	}
	i := 0
	for name, tt := range steps {
		i++
		domain := fmt.Sprintf("n%d.test", i)
		t.Run(name, func(t *testing.T) {
			c := w.connect(t.Context(), t, ca)
			before := proxy.Seen(http.MethodPost, "/order-plz")
			it := ordered(t, domain)
			if tt.rule.Fault != nil {
				proxy.Set(tt.rule)
			}
			_, err := c.Obtain(t.Context(), it, false, Stateless{}, func(url string) error {
				if !tt.noted {
					return died
				}
				it, err := it.Placed(url, time.Now())
				return errors.Join(err, keep(&it))
			})
			proxy.Set()
			if err == nil {
				t.Fatal("Obtain() = nil, want the leader to die")
			}
			if tt.noted {
				it = kept
			}
			next := w.connect(t.Context(), t, ca)
			if _, err := next.Obtain(t.Context(), it, true, Stateless{}, new(note).put); err != nil {
				t.Errorf("Obtain() by the next leader = %v", err)
			}
			if n := proxy.Seen(http.MethodPost, "/order-plz") - before; n != 1 {
				t.Errorf("the CA was asked for %d orders, want 1", n)
			}
		})
	}
}

var kept issuance.Item

// keep is the journal of TestADeadLeadersOrderIsFound.
func keep(it *issuance.Item) error {
	kept = *it
	return nil
}

func TestFailuresAreClassed(t *testing.T) {
	w := newWorld(t, testkit.PebbleOptions{Blocked: []string{"blocked.test"}})
	w.SetAddress(t, "elsewhere.test", "127.0.0.2") // nobody listens there
	c := w.connect(t.Context(), t, w.ca())
	tests := map[string]struct {
		name  string
		class issuance.Class
		stage issuance.Stage
		typ   string
	}{
		"nobody answers":    {"elsewhere.test", issuance.Recoverable, issuance.StageValidate, "connection"},
		"refused by the CA": {"blocked.test", issuance.Hopeless, issuance.StageOrder, "rejectedIdentifier"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := c.Obtain(t.Context(), ordered(t, tt.name), false, Stateless{}, new(note).put)
			if err == nil {
				t.Fatal("Obtain() = nil, want an error")
			}
			f, ok := FailureOf(t.Context(), "pebble", err)
			if !ok || f.Class != tt.class || f.Stage != tt.stage || f.Type != tt.typ || f.Detail == "" {
				t.Errorf("FailureOf(%v) = %+v, want %s %s at %s", err, f, tt.class, tt.typ, tt.stage)
			}
		})
	}
}

func TestBrokenAnswersAreTheCAsTrouble(t *testing.T) {
	w := newWorld(t, testkit.PebbleOptions{})
	proxy, directory := w.Proxy(t)
	ca := w.ca()
	ca.Directory = directory
	tests := map[string]struct {
		path  string
		fault testkit.Fault
		class issuance.Class
		wait  time.Duration
	}{
		"503 with Retry-After":    {"/order-plz", after(503, "120"), issuance.CADown, 2 * time.Minute},
		"503 without":             {"/order-plz", testkit.Status(503), issuance.CADown, 0},
		"500 while finalizing":    {"/finalize-order", testkit.Status(500), issuance.CADown, 0},
		"429 with Retry-After":    {"/order-plz", after(429, "3600"), issuance.RateLimited, time.Hour},
		"429 without a problem":   {"/order-plz", testkit.Status(429), issuance.RateLimited, 0},
		"HTML":                    {"/order-plz", testkit.Body("<html>maintenance</html>"), issuance.CADown, 0},
		"empty JSON":              {"/order-plz", testkit.Body("{}"), issuance.CADown, 0},
		"truncated":               {"/order-plz", testkit.Truncate, issuance.Cut, 0},
		"cut":                     {"/authZ", testkit.Cut, issuance.Cut, 0},
		"10 MB":                   {"/order-plz", testkit.Body(`"` + strings.Repeat("x", 10<<20) + `"`), issuance.CADown, 0},
		"10 MB for a certificate": {"/certZ", testkit.Body(strings.Repeat("x", 10<<20)), issuance.CADown, 0},
		"no nonce is good":        {"/order-plz", problem(400, "badNonce"), issuance.Recoverable, 0},
		"no certificate":          {"/certZ", testkit.Body("hello"), issuance.Recoverable, 0},
		"redirect":                {"/order-plz", moved, issuance.CADown, 0},
		"no nonce":                {"/nonce-plz", testkit.Status(500), issuance.CADown, 0},
	}
	account := w.connect(t.Context(), t, ca).Account()
	i := 0
	for name, tt := range tests {
		i++
		domain := fmt.Sprintf("n%d.test", i)
		t.Run(name, func(t *testing.T) {
			c := w.reconnect(t, ca, account)
			proxy.Set(testkit.Rule{Path: tt.path, Fault: tt.fault})
			defer proxy.Set()
			_, err := c.Obtain(t.Context(), ordered(t, domain), false, Stateless{}, new(note).put)
			if err == nil {
				t.Fatal("Obtain() = nil, want an error")
			}
			f, ok := FailureOf(t.Context(), "pebble", err)
			if !ok || f.Class != tt.class || f.RetryAfter != tt.wait {
				t.Errorf("FailureOf(%.300s) = %+v, want %s after %s", err, f, tt.class, tt.wait)
			}
		})
	}
}

// after answers with a status and a Retry-After.
func after(code int, header string) testkit.Fault {
	return func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		w.Header().Set("Retry-After", header)
		testkit.Status(code)(w, r, pass)
	}
}

func moved(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
}

// TestNothingIsAskedAfterTheLease ends a term while the CA hangs.
func TestNothingIsAskedAfterTheLease(t *testing.T) {
	w := newWorld(t, testkit.PebbleOptions{})
	proxy, directory := w.Proxy(t)
	ca := w.ca()
	ca.Directory = directory
	lease, end := context.WithCancel(t.Context())
	defer end()
	c := w.connect(lease, t, ca)
	proxy.Set(testkit.Rule{Path: "/order-plz", Fault: testkit.Hang})
	done := make(chan error, 1)
	go func() {
		_, err := c.Obtain(lease, ordered(t, "a.test"), false, Stateless{}, new(note).put)
		done <- err
	}()
	testkit.Eventually(t, 50*time.Second, "the order to be asked for", func() error {
		if proxy.Seen("", "/order-plz") == 0 {
			return errors.New("not asked")
		}
		return nil
	})
	end()
	select {
	case err := <-done:
		if f, ok := FailureOf(lease, "pebble", err); ok || err == nil {
			t.Errorf("FailureOf(%v) after the lease = %+v, want no failure: nothing is known", err, f)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("Obtain() goes on after the lease")
	}
	proxy.Set()
	before := proxy.Seen("", "")
	if _, err := c.Obtain(context.Background(), ordered(t, "b.test"), false, Stateless{}, new(note).put); err == nil {
		t.Error("Obtain() of a former leader = nil, want an error")
	}
	if after := proxy.Seen("", ""); after != before {
		t.Errorf("a former leader made %d requests", after-before)
	}
}
