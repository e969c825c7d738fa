package agent

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/issuer"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// newDNSWorld is a fleet whose leader proves names in zones of a real DNS server,
// each with settings of its own over those that are right.
func newDNSWorld(t *testing.T, zones map[string]map[string]string) (*issueWorld, *testkit.BindServer) {
	t.Helper()
	bind := testkit.Bind(t, testkit.BindOptions{Zones: []string{"a.test", "b.test"}})
	w := newIssueWorld(t, testkit.PebbleOptions{DNS: bind.Addr})
	cfg := &w.console.cfg
	cfg.CAs, cfg.Leader.Eligible, cfg.ACME.Resolver = []config.CA{{}}, true, bind.Addr
	for zone, other := range zones {
		settings := map[string]fleet.Secret{}
		for _, values := range []map[string]string{{
			"DNSUPDATE_NAMESERVER": bind.Addr, "DNSUPDATE_TSIG_ALGORITHM": "hmac-sha256.", "DNSUPDATE_DNS_TIMEOUT": "10",
			"DNSUPDATE_TSIG_KEY": bind.KeyName, "DNSUPDATE_TSIG_SECRET": bind.Secret,
		}, other} {
			for name, value := range values {
				settings[name] = fleet.NewSecret([]byte(value))
			}
		}
		cfg.DNS = append(cfg.DNS, config.DNS{
			Name: zone, Domains: []string{zone}, Provider: "rfc2136", Settings: settings, Propagation: 20 * time.Second, Nameservers: []string{bind.Addr},
		})
	}
	var err error
	if w.rules.responder, err = responder(*cfg, testkit.Logger(t)); err != nil {
		t.Fatal(err)
	}
	return w, bind
}

// TestWildcardsThroughBrokenDNS takes the DNS server away and brings it back.
func TestWildcardsThroughBrokenDNS(t *testing.T) {
	const wrong = "d3Jvbmcta2V5LXdyb25nLWtleQ=="
	w, bind := newDNSWorld(t, map[string]map[string]string{"a.test": nil, "b.test": {"DNSUPDATE_TSIG_SECRET": wrong}, "missing.test": nil})
	w.leader(t)
	wishes := []issuance.Wish{{Names: []string{"a.test", "*.a.test"}}, {Names: []string{"*.b.test"}}, {Names: []string{"*.missing.test"}}}
	if err := w.console.AddDomains(t.Context(), wishes, "test", nil); err != nil {
		t.Fatal(err)
	}
	w.await(t, "*.a.test", "issued", isState(issuance.Issued))
	if d, err := w.console.Certificate(t.Context(), "any.a.test"); err != nil || !slices.Equal(d.Names, []string{"*.a.test", "a.test"}) {
		t.Errorf("Certificate(any.a.test) = %+v, %v, want the one of *.a.test", d, err)
	}
	for name, want := range map[string]string{"*.b.test": "refuses the credentials", "*.missing.test": "REFUSED"} {
		d := w.await(t, name, "waiting", isState(issuance.Waiting))
		if f := d.Failure; f.Stage != issuance.StagePreflight || f.Class != issuance.Recoverable || !strings.Contains(f.Detail, want) || strings.Contains(f.Detail, wrong) {
			t.Errorf("failure of %s = %+v, want a recoverable one of the preflight with %q", name, f, want)
		}
	}
	bind.Stop(t)
	w.add(t, "*.sub.a.test")
	w.await(t, "*.sub.a.test", "waiting", isState(issuance.Waiting))
	if n := w.proxy.Seen(http.MethodPost, "/order-plz"); n != 1 {
		t.Errorf("the CA was asked for %d orders, want 1: broken DNS costs it nothing", n)
	}
	bind.Start(t)
	if err := w.console.RetryDomains(t.Context(), []string{"*.sub.a.test"}, "test"); err != nil {
		t.Fatal(err)
	}
	w.await(t, "*.sub.a.test", "issued", isState(issuance.Issued))
	for _, name := range []string{"a.test", "sub.a.test"} {
		if got := bind.TXT(t, "_acme-challenge."+name); len(got) > 0 {
			t.Errorf("TXT of %s = %q, want none", name, got)
		}
	}
	if err := w.console.AddDomains(t.Context(), []issuance.Wish{{Names: []string{"*.elsewhere.test"}}}, "test", nil); !errors.Is(err, issuer.ErrWildcard) {
		t.Errorf("AddDomains() of a wildcard that no block is for = %v, want %v", err, issuer.ErrWildcard)
	}
}

// TestLeaderThatDiesWithARecordInDNS ends the leader while the CA is asked to
// look.
func TestLeaderThatDiesWithARecordInDNS(t *testing.T) {
	const record = "_acme-challenge.a.test"
	w, bind := newDNSWorld(t, map[string]map[string]string{"a.test": nil})
	w.proxy.Set(testkit.Rule{Path: "/chalZ/", Fault: testkit.Hang})
	stop := w.leader(t)
	w.add(t, "*.a.test")
	testkit.Eventually(t, 50*time.Second, "the CA to be asked to look", func() error {
		if w.proxy.Seen("", "/chalZ/") == 0 {
			return errors.New("it is not")
		}
		return nil
	})
	stop()
	left := bind.TXT(t, record)
	if len(left) != 1 {
		t.Errorf("TXT after the leader's end = %q, want the one that its successor needs", left)
	}
	w.proxy.Set()
	w.leader(t)
	w.await(t, "*.a.test", "issued", isState(issuance.Issued))
	if got := bind.TXT(t, record); len(got) > 0 {
		t.Errorf("TXT in the end = %q, want none", got)
	}
	if orders := w.proxy.Seen(http.MethodPost, "/order-plz"); orders != 1 {
		t.Errorf("the CA was asked for %d orders, want 1", orders)
	}
}

// TestLeaderThatEndsWhileDNSHangs ends the leader while the DNS server takes its
// time for a record, which it sets after that.
func TestLeaderThatEndsWhileDNSHangs(t *testing.T) {
	const record = "_acme-challenge.a.test"
	w, bind := newDNSWorld(t, map[string]map[string]string{"a.test": {"DNSUPDATE_DNS_TIMEOUT": "300"}})
	cfg := w.console.cfg
	cfg.ACME.Resolver = testkit.Bind(t, testkit.BindOptions{Zones: []string{"a.test"}}).Addr
	var err error
	if w.rules.responder, err = responder(cfg, testkit.Logger(t)); err != nil {
		t.Fatal(err)
	}
	w.rules.preflight = nil
	bind.Freeze(t)
	stop := w.leader(t)
	w.add(t, "*.a.test")
	awaitStacks(t, "rfc2136.(*DNSProvider).Present(", 1)
	began := time.Now()
	stop()
	if took := time.Since(began); took > time.Minute {
		t.Errorf("the leader ended after %s, want it not to wait for the DNS server", took)
	}
	bind.Thaw(t)
	testkit.Eventually(t, 50*time.Second, "the late record", func() error {
		if len(bind.TXT(t, record)) == 0 {
			return errors.New("it is not there")
		}
		return nil
	})
	if n := w.proxy.Seen("", "/chalZ/"); n > 0 {
		t.Errorf("the CA was asked to look %d times after the leader's end, want 0", n)
	}
	w.leader(t)
	w.await(t, "*.a.test", "issued", isState(issuance.Issued))
	if got := bind.TXT(t, record); len(got) > 0 {
		t.Errorf("TXT in the end = %q, want none", got)
	}
	if orders := w.proxy.Seen(http.MethodPost, "/order-plz"); orders != 1 {
		t.Errorf("the CA was asked for %d orders, want 1", orders)
	}
}

func TestResponderOfTheConfiguration(t *testing.T) {
	const text = `fleet = "f"
ca "le" {
  directory = "https://ca.test/dir"
}
dns "bad" {
  provider = "rfc2136"
  domains  = ["a.test"]
  settings = { DNSUPDATE_NAMESERVER = "10.0.0.53", DNSUPDATE_SECRET = "hush-hush" }
}
leader {
  eligible = %v
}
`
	parse := func(eligible bool) config.Config {
		t.Helper()
		cfg, err := config.Parse(fmt.Appendf(nil, text, eligible), "f.hcl")
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	_, err := issuing(parse(true), hclog.NewNullLogger())
	if err == nil || !strings.HasPrefix(err.Error(), `f.hcl:5: dns "bad": unusable settings: DNSUPDATE_SECRET is not known`) || strings.Contains(err.Error(), "hush") {
		t.Errorf("issuing() = %v, want one with file and line and without the secret", err)
	}
	if _, err := issuing(parse(false), hclog.NewNullLogger()); err != nil {
		t.Errorf("issuing() on a node that never leads = %v, want nil", err)
	}
	if kind := chooser(parse(false)).Kind("a.test", true); kind != issuer.DNS01 {
		t.Errorf("Kind() = %s, want %s on every node", kind, issuer.DNS01)
	}
}
