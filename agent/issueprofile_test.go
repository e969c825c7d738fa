package agent

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// directoryWith answers with the CA's directory, with a text of it replaced.
func directoryWith(t *testing.T, old, with string) testkit.Fault {
	return func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		rec := httptest.NewRecorder()
		pass.ServeHTTP(rec, r)
		text := rec.Body.String()
		if !strings.Contains(text, old) {
			t.Errorf("the directory %s has no %s", text, old)
		}
		if _, err := io.WriteString(w, strings.ReplaceAll(text, old, with)); err != nil {
			t.Error(err)
		}
	}
}

// TestAProfileThatTheCADoesNotHave parks the one certificate that asks for it,
// with what the CA offers, until the CA has it.
func TestAProfileThatTheCADoesNotHave(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{Profiles: map[string]int{"classic": 90 * 86400, "shortlived": 6 * 86400}})
	w.proxy.Set(testkit.Rule{Path: "/dir", Fault: directoryWith(t, `"shortlived"`, `"tlsserver"`)})
	w.leader(t)
	w.answering(t)
	short := wishOf("short.test")
	short.Profile = "shortlived"
	if err := w.console.AddDomains(t.Context(), []issuance.Wish{short, wishOf("a.test")}, "test", nil); err != nil {
		t.Fatal(err)
	}
	w.await(t, "a.test", "issued", isState(issuance.Issued))
	d := w.await(t, "short.test", "parked", isState(issuance.Parked))
	f := d.Failure
	if f.Class != issuance.Hopeless || f.Type != "invalidProfile" || f.CA != "pebble" || f.Detail != `profile "shortlived" is not to be had: CA pebble offers "classic", "tlsserver"` {
		t.Errorf("Domain() = %+v, want the profile and those that the CA offers", f)
	}
	w.wantCounts(t, 1, 1, 1) // nothing was asked of the CA for it
	w.proxy.Set()
	if err := w.console.RetryDomains(t.Context(), []string{"short.test"}, "test"); err != nil {
		t.Fatal(err)
	}
	d = w.await(t, "short.test", "issued", isState(issuance.Issued))
	if c := w.item(t, "short.test").Cert; c.NotAfter.Sub(c.NotBefore).Hours() > 7*24 {
		t.Errorf("the certificate is valid from %s to %s, want days", c.NotBefore, c.NotAfter)
	}
}

// TestAProfileTakesFewerNames parks a certificate that another host has let in, with
// what to do, before its CA is asked for anything.
func TestAProfileTakesFewerNames(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{Profiles: map[string]int{"classic": 90 * 86400, "shortlived": 6 * 86400}})
	w.rules.cas[0].ProfileNames = map[string]int{"shortlived": 2}
	w.leader(t)
	w.answering(t)
	wishes := []issuance.Wish{wishOf("a.test", "b.test"), wishOf("n1.test", "n2.test", "n3.test"), wishOf("x1.test", "x2.test", "x3.test")}
	wishes[0].Profile, wishes[1].Profile, wishes[2].Profile = "shortlived", "shortlived", "classic"
	if err := w.console.AddDomains(t.Context(), wishes, "test", nil); err != nil {
		t.Fatal(err)
	}
	f := w.await(t, "n1.test", "parked", isState(issuance.Parked)).Failure
	if f.Class != issuance.Hopeless || f.Stage != issuance.StagePreflight || f.Detail != `CA pebble: too many names for the profile: 3 names, and "shortlived" takes 2 in one certificate` {
		t.Errorf("Domain() = %+v, want the names that are too many, before the order", f)
	}
	for _, name := range []string{"a.test", "x1.test"} {
		w.await(t, name, "issued", isState(issuance.Issued))
	}
	w.wantCounts(t, 1, 2, 2)
}

// TestAProfileThatTheCARefuses is one of the directory, which the account may not
// have.
func TestAProfileThatTheCARefuses(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{Profiles: map[string]int{"classic": 90 * 86400, "shortlived": 6 * 86400}})
	w.proxy.Set(testkit.Rule{Path: "/dir", Fault: directoryWith(t, `"shortlived"`, `"tlsserver"`)})
	w.leader(t)
	w.answering(t)
	server := wishOf("server.test")
	server.Profile = "tlsserver"
	if err := w.console.AddDomains(t.Context(), []issuance.Wish{server}, "test", nil); err != nil {
		t.Fatal(err)
	}
	f := w.await(t, "server.test", "parked", isState(issuance.Parked)).Failure
	if f.Class != issuance.Hopeless || f.Type != "invalidProfile" || f.Status == 0 || !strings.HasPrefix(f.Detail, `profile "tlsserver" is not to be had: CA pebble offers "classic", "tlsserver"; the CA says: `) {
		t.Errorf("Domain() = %+v, want the CA's refusal and the profiles that it offers", f)
	}
}
