package agent

import (
	"fmt"
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/issuer"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// TestTheNextCAIsAskedWhenTheFirstIsDown has the first CA answer nothing but 503.
func TestTheNextCAIsAskedWhenTheFirstIsDown(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	second := testkit.Pebble(t, testkit.PebbleOptions{HTTPPort: w.pebble.HTTPPort})
	w.rules.cas = append(w.rules.cas, issuer.CA{Name: "second", Directory: second.Directory, RootFile: second.RootFile})
	w.proxy.Set(testkit.Rule{Fault: testkit.Status(http.StatusServiceUnavailable)})
	stop := w.leader(t)
	w.answering(t)
	w.add(t, "a.test")
	d := w.await(t, "a.test", "waiting", isState(issuance.Waiting))
	if d.Failure.Class != issuance.CADown || d.Failure.CA != "pebble" || d.Failures != 0 {
		t.Errorf("Domain() = %+v, failure %+v, want the first CA down, which does not count against the name", d, d.Failure)
	}
	stop()
	w.now = func() time.Time { return time.Now().Add(time.Hour) }
	w.leader(t)
	if d := w.await(t, "a.test", "issued", isState(issuance.Issued)); d.CA != "second" {
		t.Errorf("the certificate is from %s, want second", d.CA)
	}
	w.wantServed(t, "a.test")
	w.wantCounts(t, 0, 0, 0)
	if got, want := second.Counts(t), (testkit.PebbleCounts{Accounts: 1, Orders: 1, Certificates: 1}); got != want {
		t.Errorf("the second CA has made %+v, want %+v", got, want)
	}
}

// TestTheNextLeaderKeepsTheLedger: what a leader has used of the CA's limits is
// used for the one after it.
func TestTheNextLeaderKeepsTheLedger(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	w.rules.cas[0].Limits.Orders = issuance.Limit{Count: 2, Per: 24 * time.Hour}
	stop := w.leader(t)
	w.answering(t)
	w.add(t, "a.test", "b.test")
	for _, name := range []string{"a.test", "b.test"} {
		w.await(t, name, "issued", isState(issuance.Issued))
	}
	stop()
	used := func() map[string]time.Time {
		t.Helper()
		used, err := w.store.Used(t.Context(), "pebble")
		if err != nil {
			t.Fatal(err)
		}
		return used
	}
	before := used()
	if before["orders"].Before(time.Now().Add(23 * time.Hour)) {
		t.Fatalf("Used() = %v, want two orders of a day", before)
	}
	w.leader(t)
	w.add(t, "c.test")
	w.add(t, "d.test") // taken when what may be begun of the one before has been
	if after := used(); !maps.Equal(after, before) {
		t.Errorf("Used() = %v with the next leader, want %v: nothing may be ordered", after, before)
	}
	if it := w.item(t, "c.test"); it.State != issuance.Wanted {
		t.Errorf("c.test is %s, want it wanted", it.State)
	}
	w.wantCounts(t, 1, 2, 2)
}

// TestANewNameIsTakenInWithoutReadingTheOthers counts what command line and leader
// read of the journal for it.
func TestANewNameIsTakenInWithoutReadingTheOthers(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	var parked []func(time.Time) issuance.Item
	for i := range 100 {
		parked = append(parked, func(now time.Time) issuance.Item {
			it, err := beginning(t, now, fmt.Sprintf("n%d.test", i)).Fail(issuance.Failure{Class: issuance.Hopeless, Stage: issuance.StagePreflight, Detail: "test"}, 0, now)
			if err != nil {
				t.Fatal(err)
			}
			return it
		})
	}
	w.journal(t, parked...)
	w.leader(t)
	w.answering(t)
	w.add(t, "first.test")
	w.await(t, "first.test", "issued", isState(issuance.Issued))
	journal := fmt.Sprintf("tlsfleet/%s/issuance/", w.console.cfg.Fleet)
	id := issuance.ID([]string{"new.test"})
	others := func() int { return w.consul.Read(journal) - w.consul.Read(journal+id[:2]+"/"+id) }
	before := others()
	if before < 100 {
		t.Fatalf("%d reads of the journal before, want those of a leader that begins: the test would see nothing", before)
	}
	console := &Console{cfg: w.console.cfg, store: w.leading} // through the proxy too
	if err := console.AddDomains(t.Context(), []issuance.Wish{wishOf("new.test")}, "test", nil); err != nil {
		t.Fatal(err)
	}
	w.await(t, "new.test", "issued", isState(issuance.Issued))
	if n := others() - before; n != 0 {
		t.Errorf("%d reads of other names in the journal for a new one, want none", n)
	}
}
