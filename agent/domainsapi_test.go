package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/status"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// apiWorld is a world whose socket obtains certificates.
func apiWorld(t *testing.T) (*issueWorld, domainsAPI) {
	t.Helper()
	w := newIssueWorld(t, testkit.PebbleOptions{})
	w.console.cfg.CAs = []config.CA{{Name: "pebble"}}
	w.console.cfg.Node = "n1"
	return w, domainsAPI{w.console}
}

// fates asks for something and returns what became of each.
func fates(t *testing.T, a domainsAPI, do issuance.Verb, wishes ...issuance.Wish) []status.Fate {
	t.Helper()
	results, err := a.DoDomains(t.Context(), do, wishes, "test")
	if err != nil {
		t.Fatalf("DoDomains(%s) = %v", do, err)
	}
	var all []status.Fate
	for _, r := range results {
		all = append(all, r.Result)
		if (r.Error != "") != slices.Contains([]status.Fate{status.FateRefused, status.FateTaken, status.FateFailed}, r.Result) {
			t.Errorf("DoDomains(%s) = %+v, want an error where there is one", do, r)
		}
	}
	return all
}

// TestAPISaysWhatBecameOfEach: one that cannot be used holds back no other.
func TestAPISaysWhatBecameOfEach(t *testing.T) {
	w, a := apiWorld(t)
	w.pebble.SetAddress(t, "elsewhere.test", "127.0.0.2") // nobody listens there
	w.leader(t)
	w.answering(t)
	const added, known, taken, refused = status.FateAdded, status.FateKnown, status.FateTaken, status.FateRefused
	got := fates(t, a, issuance.Add, wishOf("A.Test."), wishOf("co.uk"), wishOf("b.test", "www.b.test"), wishOf("a.test"), wishOf("www.b.test"), wishOf("elsewhere.test"))
	if want := []status.Fate{added, refused, added, added, refused, added}; !slices.Equal(got, want) {
		t.Errorf("add = %v, want %v", got, want)
	}
	for _, name := range []string{"a.test", "www.b.test"} {
		w.await(t, name, "issued", isState(issuance.Issued))
	}
	w.await(t, "elsewhere.test", "waiting", isState(issuance.Waiting))
	got = fates(t, a, issuance.Add, wishOf("a.test"), wishOf("www.b.test"), wishOf("../x"), wishOf("c.test"))
	if want := []status.Fate{known, taken, refused, added}; !slices.Equal(got, want) {
		t.Errorf("add again = %v, want %v", got, want)
	}
	got = fates(t, a, issuance.Retry, wishOf("elsewhere.test"), wishOf("a.test"), wishOf("nobody.test"), wishOf("-"))
	if want := []status.Fate{status.FateBegun, status.FateAlone, status.FateUnknown, refused}; !slices.Equal(got, want) {
		t.Errorf("retry = %v, want %v", got, want)
	}
	if got := fates(t, a, issuance.Renew, wishOf("a.test"), wishOf("elsewhere.test")); !slices.Equal(got, []status.Fate{status.FateBegun, status.FateAlone}) {
		t.Errorf("renew = %v, want it begun and left alone", got)
	}
	got = fates(t, a, issuance.Remove, wishOf("www.b.test"), wishOf("b.test"), wishOf("nobody.test"))
	if want := []status.Fate{status.FateRemoved, status.FateRemoved, status.FateUnknown}; !slices.Equal(got, want) {
		t.Errorf("remove = %v, want %v", got, want)
	}
	if _, err := a.ShowDomain(t.Context(), "b.test"); !errors.Is(err, status.ErrNoDomain) {
		t.Errorf("ShowDomain() of what was removed = %v, want %v", err, status.ErrNoDomain)
	}
	if _, err := a.ShowDomain(t.Context(), "../x"); !errors.Is(err, status.ErrBadDomains) {
		t.Errorf("ShowDomain() of no name = %v, want %v", err, status.ErrBadDomains)
	}
	if d, err := a.ShowDomain(t.Context(), "A.test"); err != nil || d.(DomainStatus).Names[0] != "a.test" { //nolint:errcheck,forcetypeassert // it is one
		t.Errorf("ShowDomain() = %+v, %v, want a.test", d, err)
	}
}

// TestAPIPagesHaveEachCertificateOnce adds thousands at once, twice, and reads
// them in pages.
func TestAPIPagesHaveEachCertificateOnce(t *testing.T) {
	w, a := apiWorld(t)
	w.rules.parallel = 1
	w.leader(t)
	const names = 3000
	var wishes []issuance.Wish
	for i := range names {
		wishes = append(wishes, wishOf(fmt.Sprintf("n%d.test", i)))
	}
	for _, want := range []status.Fate{status.FateAdded, status.FateKnown} {
		if got := slices.Compact(fates(t, a, issuance.Add, wishes...)); !slices.Equal(got, []status.Fate{want}) {
			t.Errorf("add = %v, want %s each", got, want)
		}
	}
	seen := map[string]bool{}
	after := ""
	for range names {
		body, err := a.ListDomains(t.Context(), status.DomainQuery{After: after, Limit: 700, Match: "N"})
		if err != nil {
			t.Fatal(err)
		}
		page := body.(domainPage) //nolint:errcheck,forcetypeassert // it is one
		for _, d := range page.Domains {
			if seen[d.Names[0]] {
				t.Errorf("%s is on two pages", d.Names[0])
			}
			seen[d.Names[0]] = true
		}
		if after = page.Next; after == "" {
			break
		}
		if len(page.Domains) != 700 {
			t.Errorf("a page has %d, want 700", len(page.Domains))
		}
	}
	if len(seen) != names {
		t.Errorf("the pages have %d certificates, want %d", len(seen), names)
	}
}

func TestAPISaysThatNobodyTakesIt(t *testing.T) {
	_, a := apiWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if results, err := a.DoDomains(ctx, issuance.Add, []issuance.Wish{wishOf("a.test")}, "test"); err == nil {
		t.Errorf("DoDomains() without a leader = %v, want an error", results)
	}
	a.console.cfg.CAs = nil
	if _, err := a.DoDomains(t.Context(), issuance.Add, []issuance.Wish{wishOf("a.test")}, "test"); !errors.Is(err, status.ErrNoCA) {
		t.Errorf("DoDomains() without a CA = %v, want %v", err, status.ErrNoCA)
	}
}
