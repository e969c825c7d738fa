package agent

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/issuer"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// stagedWorld is a world whose CA has a staging, another Pebble.
func stagedWorld(t *testing.T, o testkit.PebbleOptions) (*issueWorld, *testkit.PebbleServer) {
	t.Helper()
	w := newIssueWorld(t, testkit.PebbleOptions{})
	o.HTTPPort = w.pebble.HTTPPort
	staging := testkit.Pebble(t, o)
	w.rules.stagings = map[string]issuer.CA{
		"pebble": {Name: stagingName("pebble"), Directory: staging.Directory, RootFile: staging.RootFile, Limits: stagingLimits},
	}
	return w, staging
}

// failed puts items into the journal that failed a number of times, long ago.
func (w *issueWorld) failed(t *testing.T, times int, f issuance.Failure, names ...string) {
	t.Helper()
	session := w.lead(t)
	var items []issuance.Item
	for _, name := range names {
		at := time.Now().AddDate(0, -1, 0)
		it, err := issuance.New([]string{name}, "", "", at)
		for range times {
			if err == nil {
				it, err = it.Begin(at)
			}
			if err == nil {
				it, err = it.Fail(f, 0, at)
			}
			at = it.Next
		}
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, it)
	}
	if err := w.store.PutItems(t.Context(), items, session); err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.Client().Session().Destroy(session, nil); err != nil {
		t.Fatal(err)
	}
}

// refusedBefore is a failure that counts, of the CA.
var refusedBefore = issuance.Failure{Class: issuance.Recoverable, Stage: issuance.StageValidate, CA: "pebble", Detail: "before"}

// TestWhatFailedIsObtainedFromStagingFirst: the certificate that is served is the
// CA's.
func TestWhatFailedIsObtainedFromStagingFirst(t *testing.T) {
	w, staging := stagedWorld(t, testkit.PebbleOptions{})
	w.failed(t, stagingAfter, refusedBefore, "often.test")
	w.failed(t, stagingAfter-1, refusedBefore, "seldom.test")
	w.leader(t)
	w.answering(t)
	w.add(t, "new.test")
	for _, name := range []string{"often.test", "seldom.test", "new.test"} {
		if d := w.await(t, name, "issued", isState(issuance.Issued)); d.CA != "pebble" {
			t.Errorf("the certificate of %s is from %s, want pebble", name, d.CA)
		}
		_, b, err := w.console.certificate(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(b.Leaf)
		if err != nil {
			t.Fatal(err)
		}
		between := x509.NewCertPool()
		for _, der := range b.Chain {
			c, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			between.AddCert(c)
		}
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: w.pebble.IssuingRoots(t), Intermediates: between}); err != nil {
			t.Errorf("the certificate of %s is not the CA's: %v", name, err)
		}
	}
	if got, want := staging.Counts(t), (testkit.PebbleCounts{Accounts: 1, Orders: 1, Certificates: 1}); got != want {
		t.Errorf("staging has made %+v, want %+v", got, want)
	}
	if got := w.pebble.Counts(t); got.Orders != 3 || got.Certificates != 3 {
		t.Errorf("the CA has made %+v, want 3 orders and certificates", got)
	}
}

// TestWhatFailsAtStagingCostsTheCANothing also has parked ones come back.
func TestWhatFailsAtStagingCostsTheCANothing(t *testing.T) {
	w, staging := stagedWorld(t, testkit.PebbleOptions{Blocked: []string{"refused.test", "parked.test", "once.test"}})
	w.failed(t, stagingAfter, refusedBefore, "refused.test")
	w.failed(t, issuance.Hope, refusedBefore, "parked.test")
	hopeless := refusedBefore
	hopeless.Class = issuance.Hopeless
	w.failed(t, 1, hopeless, "once.test")
	w.leader(t)
	w.answering(t)
	for _, name := range []string{"refused.test", "parked.test", "once.test"} {
		d := w.await(t, name, "parked at staging", func(d DomainStatus) bool {
			return d.State == issuance.Parked && d.Failure.CA == stagingName("pebble")
		})
		if d.Failure.Class != issuance.Hopeless {
			t.Errorf("%s failed at staging with %+v, want it hopeless", name, d.Failure)
		}
	}
	if n := w.proxy.Seen(http.MethodPost, "/order-plz"); n != 0 || staging.Counts(t).Accounts != 1 {
		t.Errorf("the CA has got %d orders, and staging %+v, want none", n, staging.Counts(t))
	}
}

// TestStagingThatIsDownHoldsNothingBack: it is passed over when it was down the
// last time.
func TestStagingThatIsDownHoldsNothingBack(t *testing.T) {
	w, _ := stagedWorld(t, testkit.PebbleOptions{})
	down := w.rules.stagings["pebble"]
	down.Directory = "https://127.0.0.1:1/dir"
	w.rules.stagings["pebble"] = down
	w.failed(t, stagingAfter, refusedBefore, "first.test")
	stop := w.leader(t)
	w.answering(t)
	w.await(t, "first.test", "waiting for staging", func(d DomainStatus) bool {
		return d.State == issuance.Waiting && d.Failure.Class == issuance.CADown && d.Failure.CA == stagingName("pebble")
	})
	stop()
	w.now = func() time.Time { return time.Now().Add(time.Hour) }
	w.leader(t)
	w.await(t, "first.test", "issued", isState(issuance.Issued))
}

// TestStagingHasABudgetOfItsOwn: beyond it a certificate waits, and others do not.
func TestStagingHasABudgetOfItsOwn(t *testing.T) {
	w, staging := stagedWorld(t, testkit.PebbleOptions{})
	small := w.rules.stagings["pebble"]
	small.Limits.Orders = issuance.Limit{Count: 1, Per: time.Hour}
	w.rules.stagings["pebble"] = small
	w.rules.parallel = 1
	w.failed(t, stagingAfter, refusedBefore, "a.test", "b.test")
	w.leader(t)
	w.answering(t)
	testkit.Eventually(t, 50*time.Second, "one issued and one waiting", func() error {
		list, _, err := w.console.Domains(t.Context(), DomainFilter{State: issuance.Issued}, false)
		waiting, _, waitErr := w.console.Domains(t.Context(), DomainFilter{State: issuance.Waiting}, false)
		if err != nil || waitErr != nil || len(list) != 1 || len(waiting) != 1 {
			return fmt.Errorf("issued %+v, waiting %+v, %w", list, waiting, errors.Join(err, waitErr))
		}
		if f := waiting[0].Failure; f.Class != issuance.RateLimited || f.CA != stagingName("pebble") || waiting[0].Next.Before(time.Now().Add(50*time.Minute)) {
			t.Fatalf("it waits until %s with %+v, want for the budget of staging", waiting[0].Next, f)
		}
		return nil
	})
	w.add(t, "new.test")
	w.await(t, "new.test", "issued", isState(issuance.Issued))
	if n := staging.Counts(t).Orders; n != 1 {
		t.Errorf("staging has got %d orders, want 1", n)
	}
}
