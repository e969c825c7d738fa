package issuer

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/issuer/dns01"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// dnsWorld is a Pebble that asks a real DNS server, for which a.test is a zone
// that takes updates and b.test one of names that are proved by HTTP-01.
type dnsWorld struct {
	world
	bind *testkit.BindServer
}

func newDNSWorld(t *testing.T, o testkit.PebbleOptions) dnsWorld {
	t.Helper()
	bind := testkit.Bind(t, testkit.BindOptions{Zones: []string{"a.test", "b.test"}})
	o.DNS = bind.Addr
	return dnsWorld{newWorld(t, o), bind}
}

// responder is one for a.test, with a key of the server's.
func (w dnsWorld) responder(t *testing.T, key string) *dns01.Responder {
	t.Helper()
	settings := map[string]fleet.Secret{}
	for name, value := range map[string]string{
		"DNSUPDATE_NAMESERVER": w.bind.Addr, "DNSUPDATE_TSIG_ALGORITHM": "hmac-sha256.", "DNSUPDATE_TSIG_KEY": w.bind.KeyName, "DNSUPDATE_TSIG_SECRET": key,
	} {
		settings[name] = secret(value)
	}
	return dns01.New(dns01.Zones{{
		Name: "bind", Domains: []string{"a.test"}, Provider: "rfc2136", Settings: settings, Propagation: 10 * time.Second, Nameservers: []string{w.bind.Addr},
	}}, w.bind.Addr, testkit.Logger(t))
}

const recordName = "_acme-challenge.a.test"

func (w dnsWorld) tidied(t *testing.T) {
	t.Helper()
	if got := w.bind.TXT(t, recordName); len(got) > 0 {
		t.Errorf("TXT %s = %q, want none", recordName, got)
	}
}

func TestObtainByDNS(t *testing.T) {
	w := newDNSWorld(t, testkit.PebbleOptions{NonceReject: 20})
	c := w.connect(t.Context(), t, w.ca())
	for name, names := range map[string][]string{
		"name":              {"www.a.test"},
		"wildcard":          {"*.a.test"},
		"name and wildcard": {"a.test", "*.a.test"},
		"with one by HTTP":  {"*.a.test", "*.sub.a.test", "b.test"},
	} {
		t.Run(name, func(t *testing.T) {
			it := ordered(t, names...)
			b, err := c.Obtain(t.Context(), it, false, w.responder(t, w.bind.Secret), new(note).put)
			if err != nil {
				t.Fatalf("Obtain() = %v", err)
			}
			leaf, err := x509.ParseCertificate(b.Leaf)
			if err != nil {
				t.Fatal(err)
			}
			if slices.Sort(leaf.DNSNames); !slices.Equal(leaf.DNSNames, it.Names) {
				t.Errorf("Obtain() = a certificate for %v, want %v", leaf.DNSNames, it.Names)
			}
			w.tidied(t)
		})
	}
}

// TestOrdersOfOneRecord has two certificates need the same record at once.
func TestOrdersOfOneRecord(t *testing.T) {
	w := newDNSWorld(t, testkit.PebbleOptions{})
	c := w.connect(t.Context(), t, w.ca())
	r := w.responder(t, w.bind.Secret)
	done := make(chan error, 2)
	for _, names := range [][]string{{"a.test"}, {"*.a.test"}} {
		it := ordered(t, names...)
		go func() {
			_, err := c.Obtain(t.Context(), it, false, r, new(note).put)
			done <- err
		}()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Errorf("Obtain() = %v", err)
		}
	}
	w.tidied(t)
}

// leaving is a leader that dies before it takes anything away.
type leaving struct{ *dns01.Responder }

func (leaving) CleanUp(context.Context, string, string, string) {}

// TestNextLeaderGoesOnAndTidies ends a leader while its record is needed, and
// after it.
func TestNextLeaderGoesOnAndTidies(t *testing.T) {
	tests := map[string]string{ // the path at which the leader hangs
		"before validation": "/chalZ/",
		"after validation":  "/finalize-order/",
	}
	for name, path := range tests {
		t.Run(name, func(t *testing.T) {
			w := newDNSWorld(t, testkit.PebbleOptions{})
			proxy, directory := w.Proxy(t)
			ca := w.ca()
			ca.Directory = directory
			lease, end := context.WithCancel(t.Context())
			defer end()
			former := w.connect(lease, t, ca)
			proxy.Set(testkit.Rule{Path: path, Fault: testkit.Hang})
			it := ordered(t, "*.a.test")
			var n note
			done := make(chan error, 1)
			go func() {
				_, err := former.Obtain(lease, it, false, leaving{w.responder(t, w.bind.Secret)}, n.put)
				done <- err
			}()
			testkit.Eventually(t, 50*time.Second, "the leader to hang", func() error {
				if proxy.Seen("", path) == 0 {
					return errors.New("it does not")
				}
				return nil
			})
			end()
			if err := <-done; err == nil {
				t.Fatal("Obtain() without lease = nil, want an error")
			}
			if got := w.bind.TXT(t, recordName); len(got) == 0 {
				t.Fatal("no record is left, so this shows nothing")
			}
			proxy.Set()
			it, err := it.Placed(n.url, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			next := w.connect(t.Context(), t, ca)
			if _, err := next.Obtain(t.Context(), it, false, w.responder(t, w.bind.Secret), n.put); err != nil {
				t.Errorf("Obtain() of the next leader = %v", err)
			}
			w.tidied(t)
			if orders := proxy.Seen(http.MethodPost, "/order-plz"); orders != 1 {
				t.Errorf("the CA was asked for %d orders, want 1", orders)
			}
		})
	}
}

// TestAFailureLeavesNoRecord has the CA refuse to look once the record is set.
func TestAFailureLeavesNoRecord(t *testing.T) {
	w := newDNSWorld(t, testkit.PebbleOptions{})
	proxy, directory := w.Proxy(t)
	ca := w.ca()
	ca.Directory = directory
	proxy.Set(testkit.Rule{Path: "/chalZ/", Fault: problem(http.StatusForbidden, "unauthorized")})
	_, err := w.connect(t.Context(), t, ca).Obtain(t.Context(), ordered(t, "*.a.test"), false, w.responder(t, w.bind.Secret), new(note).put)
	if f, ok := FailureOf(t.Context(), "pebble", err); !ok || f.Stage != issuance.StageValidate {
		t.Errorf("Obtain() = %v, a failure %+v, want one of stage %s", err, f, issuance.StageValidate)
	}
	if n := w.bind.Added(t, recordName); n != 1 {
		t.Errorf("a record was set %d times, want once", n)
	}
	w.tidied(t)
}

// TestRefusedRecordIsNoFaultOfTheCA has the DNS server refuse the key once there
// is an order.
func TestRefusedRecordIsNoFaultOfTheCA(t *testing.T) {
	w := newDNSWorld(t, testkit.PebbleOptions{})
	c := w.connect(t.Context(), t, w.ca())
	_, err := c.Obtain(t.Context(), ordered(t, "*.a.test"), false, w.responder(t, "d3Jvbmc="), new(note).put)
	f, ok := FailureOf(t.Context(), "pebble", err)
	if !ok || f.Stage != issuance.StageAnswer || f.Class != issuance.Recoverable || !errors.Is(err, dns01.ErrCredentials) {
		t.Errorf("FailureOf(%v) = %+v, want a recoverable one of stage %s", err, f, issuance.StageAnswer)
	}
	err = ProveNames(t.Context(), w.responder(t, "d3Jvbmc="), []string{"*.a.test", "a.test", "b.test"})
	f, ok = FailureOf(t.Context(), "", err)
	if !ok || f.Stage != issuance.StagePreflight || f.Class != issuance.Recoverable || !errors.Is(err, ErrPreflight) {
		t.Errorf("FailureOf(%v) = %+v, want a recoverable one of stage %s", err, f, issuance.StagePreflight)
	}
	if err := ProveNames(t.Context(), w.responder(t, w.bind.Secret), []string{"*.a.test", "a.test", "b.test"}); err != nil {
		t.Errorf("ProveNames() = %v, want nil", err)
	}
	if n := w.bind.Added(t, recordName); n != 1 {
		t.Errorf("a record was set %d times, want once for a name and its wildcard", n)
	}
}
