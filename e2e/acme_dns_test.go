package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// TestAWildcardIsObtainedByDNS takes a name and its wildcard through the whole
// path: asked for on a node that never leads and has no key for the DNS server,
// proved by records there, served by all, renewed.
func TestAWildcardIsObtainedByDNS(t *testing.T) {
	t.Parallel()
	const name, wildcard, below, record = "example.org", "*.example.org", "shop.example.org", "_acme-challenge.example.org"
	bind := testkit.Bind(t, testkit.BindOptions{Zones: []string{name}})
	key := filepath.Join(t.TempDir(), "tsig")
	if err := os.WriteFile(key, []byte(bind.Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{
		"DNSUPDATE_NAMESERVER": bind.Addr, "DNSUPDATE_TSIG_ALGORITHM": "hmac-sha256.", "DNSUPDATE_TSIG_KEY": bind.KeyName,
		"DNSUPDATE_TSIG_SECRET_FILE": key,
	}
	o := onShared(t, 3, Settings{
		`dns "bind".provider`: "rfc2136", `dns "bind".domains`: []string{name}, `dns "bind".nameservers`: []string{bind.Addr},
		`dns "bind".settings`: settings,
	})
	o.Node = func(i int) Settings {
		if i > 0 {
			return nil
		}
		without := maps.Clone(settings)
		without["DNSUPDATE_TSIG_SECRET_FILE"] = key + ".missing"
		return Settings{"leader.eligible": false, `dns "bind".settings`: without}
	}
	a := newACMEFleetOn(t, o, testkit.PebbleOptions{DNS: bind.Addr})

	a.CLI(t, "domain", "add", "--san", name, wildcard, "--wait").Want(t, 0)
	first := a.AwaitIssued(t, name, "", a.Nodes...)
	if want := []string{wildcard, name}; !slices.Equal(slices.Sorted(slices.Values(first.Leaf.DNSNames)), want) {
		t.Errorf("the certificate is for %q, want %q", first.Leaf.DNSNames, want)
	}
	if w := a.AwaitIssued(t, below, "", a.Nodes...); w.Serial != first.Serial {
		t.Errorf("%s is served with %s, want %s as %s", below, w.Serial, first.Serial, name)
	}
	a.awaitReports(t) // a new wildcard is written into the configuration
	before := a.releases(t)
	a.CLI(t, "domain", "renew", wildcard).Want(t, 0)
	second := a.AwaitIssued(t, name, first.Serial, a.Nodes...)
	if w := a.AwaitIssued(t, below, first.Serial, a.Nodes...); w.Serial != second.Serial {
		t.Errorf("%s is served with %s after the renewal, want %s as %s", below, w.Serial, second.Serial, name)
	}
	if want, got := (testkit.PebbleCounts{Accounts: 1, Orders: 2, Certificates: 2}), a.pebble.Counts(t); got != want {
		t.Errorf("the CA has made %+v, want %+v: one order each", got, want)
	}
	if after := a.releases(t); !maps.Equal(after, before) {
		t.Errorf("releases and reloads = %v, want %v as before the renewal", after, before)
	}
	if n := bind.Added(t, record); n < 3 {
		t.Errorf("%d records were set, want one for the preflight and one for each name", n)
	}
	if got := bind.TXT(t, record); len(got) > 0 {
		t.Errorf("TXT %s = %q in the end, want none", record, got)
	}
}
