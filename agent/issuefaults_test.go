package agent

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/issuer"
	"github.com/tlsfleet/tlsfleet/agent/notify"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// wantCounts fails the test unless the CA has made so much.
func (w *issueWorld) wantCounts(t *testing.T, accounts, orders, certificates int) {
	t.Helper()
	want := testkit.PebbleCounts{Accounts: accounts, Orders: orders, Certificates: certificates}
	if got := w.pebble.Counts(t); got != want {
		t.Errorf("the CA has made %+v, want %+v", got, want)
	}
}

// item reads the journal.
func (w *issueWorld) item(t *testing.T, name string) issuance.Item {
	t.Helper()
	it, err := w.store.Item(t.Context(), issuance.ID([]string{name}))
	if err != nil {
		t.Fatal(err)
	}
	return it
}

// TestFlappingLeadersObtainOnce changes the leader twelve times, as fast as that
// goes.
func TestFlappingLeadersObtainOnce(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	stop := w.leader(t)
	w.answering(t)
	var names []string
	for i := range 30 {
		names = append(names, fmt.Sprintf("n%d.test", i))
	}
	w.add(t, names...)
	for range 12 {
		stop()
		seen := w.proxy.Seen("", "")
		stop = w.leader(t)
		testkit.Eventually(t, 50*time.Second, "the leader to begin", func() error {
			if left := len(names) - w.pebble.Counts(t).Certificates; left > 0 && w.proxy.Seen("", "") == seen {
				return fmt.Errorf("%d certificates are missing, and nothing is asked of the CA", left)
			}
			return nil
		})
	}
	for _, name := range names {
		w.await(t, name, "issued", isState(issuance.Issued))
	}
	w.wantCounts(t, 1, len(names), len(names))
	w.wantServed(t, names...)
}

// TestConsulIsAwayDuringAnOrder takes Consul away before the CA looks at the
// challenge, and when it has the CSR. The order goes on as far as the CA is
// concerned, and is written when Consul is back.
func TestConsulIsAwayDuringAnOrder(t *testing.T) {
	for name, g := range map[string]*gate{
		"before the validation": newGate("/chalZ", "", 0, false),
		"finalized":             newGate("/finalize-order", "", 0, true),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newIssueWorld(t, testkit.PebbleOptions{})
			w.leader(t)
			w.answering(t)
			w.proxy.Set(g.rule())
			w.add(t, "a.test")
			<-g.reached
			w.consul.Set(testkit.Rule{Fault: testkit.Cut})
			w.consul.CutAll()
			before := w.consul.Seen("", "/v1/txn")
			close(g.release)
			testkit.Eventually(t, 50*time.Second, "the certificate, and writes to fail", func() error {
				if n := w.consul.Seen("", "/v1/txn") - before; n < 3 || w.proxy.Seen(http.MethodPost, "/certZ") == 0 {
					return fmt.Errorf("%d writes so far, the certificate fetched %d times", n, w.proxy.Seen(http.MethodPost, "/certZ"))
				}
				return nil
			})
			if it := w.item(t, "a.test"); it.State != issuance.Ordering {
				t.Errorf("without Consul the item is %s, want it ordering as before", it.State)
			}
			w.consul.Set()
			w.await(t, "a.test", "issued", isState(issuance.Issued))
			w.wantCounts(t, 1, 1, 1)
			w.wantServed(t, "a.test")
		})
	}
}

// TestALostAnswerOfConsulRegistersOnce loses Consul's answer to the write that
// notes the account.
func TestALostAnswerOfConsulRegistersOnce(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	w.leader(t)
	w.answering(t)
	g := newGate("/v1/txn", "/acme/account", 0, true) // the key is there already
	w.consul.Set(g.rule())
	go func() {
		<-g.reached
		w.consul.CutAll()
		close(g.release)
	}()
	w.add(t, "a.test")
	w.await(t, "a.test", "issued", isState(issuance.Issued))
	<-g.done
	w.wantCounts(t, 1, 1, 1)
}

// TestACAThatHasForgottenUs has the CA lose everything: accounts, an order under
// way and the certificate that is renewed.
func TestACAThatHasForgottenUs(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	stop := w.leader(t)
	w.answering(t)
	w.add(t, "old.test")
	w.await(t, "old.test", "issued", isState(issuance.Issued))
	g := newGate("/finalize-order", "", 0, false)
	w.proxy.Set(g.rule())
	w.add(t, "a.test")
	<-g.reached
	stop()
	<-g.done
	next := testkit.Pebble(t, testkit.PebbleOptions{HTTPPort: w.pebble.HTTPPort})
	reborn, _ := next.Proxy(t)
	w.proxy.Set(testkit.Rule{Fault: func(rw http.ResponseWriter, r *http.Request, _ http.Handler) { reborn.ServeHTTP(rw, r) }})
	names := []string{"a.test", "b.test", "c.test", "d.test", "e.test", "f.test", "g.test"}
	serial := w.item(t, "old.test").Cert.Bundle
	w.leader(t)
	w.add(t, names[1:]...)
	if err := w.console.RenewDomains(t.Context(), []string{"old.test"}, "test"); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		w.await(t, name, "issued", isState(issuance.Issued))
	}
	testkit.Eventually(t, 50*time.Second, "the renewal", func() error {
		if it := w.item(t, "old.test"); it.State != issuance.Issued || it.Cert.Bundle == serial {
			return fmt.Errorf("it is %s, failed %+v", it.State, it.Failed)
		}
		return nil
	})
	if got, want := next.Counts(t), (testkit.PebbleCounts{Accounts: 1, Orders: 8, Certificates: 8}); got != want {
		t.Errorf("the CA has made %+v since, want %+v", got, want)
	}
	if n := reborn.Seen(http.MethodPost, "/sign-me-up"); n != 1 {
		t.Errorf("the CA was asked for %d accounts, want 1", n)
	}
}

// TestAnOrderAtACAThatIsNotConfigured leaves one that no leader can go on with.
func TestAnOrderAtACAThatIsNotConfigured(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	w.journal(t, func(now time.Time) issuance.Item {
		it := beginning(t, now, "a.test")
		o, err := issuer.NewOrder(it, "former")
		if err != nil {
			t.Fatal(err)
		}
		if it, err = it.Place(o, now); err == nil {
			it, err = it.Placed("https://former.test/order/1", now)
		}
		if err != nil {
			t.Fatal(err)
		}
		return it
	})
	w.leader(t)
	w.answering(t)
	w.await(t, "a.test", "waiting", isState(issuance.Waiting))
	if it := w.item(t, "a.test"); it.Order != nil {
		t.Errorf("the order at %s is kept", it.Order.CA)
	}
	if err := w.console.RetryDomains(t.Context(), []string{"a.test"}, "test"); err != nil {
		t.Fatal(err)
	}
	w.await(t, "a.test", "issued", isState(issuance.Issued))
}

// beginning is an item before its order.
func beginning(t *testing.T, now time.Time, name string) issuance.Item {
	t.Helper()
	it, err := issuance.New([]string{name}, "", "", now)
	if err == nil {
		it, err = it.Begin(now)
	}
	if err != nil {
		t.Fatal(err)
	}
	return it
}

// journal writes what a former leader has left.
func (w *issueWorld) journal(t *testing.T, items ...func(now time.Time) issuance.Item) {
	t.Helper()
	session := w.lead(t)
	var all []issuance.Item
	for _, it := range items {
		all = append(all, it(w.now()))
	}
	if err := w.store.PutItems(t.Context(), all, session); err != nil {
		t.Fatal(err)
	}
	w.depose(t, session)
}

// TestAParkedNameGoesOnByItself has the daily look at two parked names find that
// one of them leads here by now.
func TestAParkedNameGoesOnByItself(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	w.pebble.SetAddress(t, "elsewhere.test", "127.0.0.2") // nobody listens there
	parked := func(name string) func(time.Time) issuance.Item {
		return func(now time.Time) issuance.Item {
			then := now.Add(-48 * time.Hour)
			it, err := beginning(t, then, name).Fail(issuance.Failure{Class: issuance.Hopeless, Stage: issuance.StagePreflight, Detail: "test"}, 0, then)
			if err != nil {
				t.Fatal(err)
			}
			return it
		}
	}
	w.journal(t, parked("a.test"), parked("elsewhere.test"))
	w.leader(t)
	w.answering(t)
	w.await(t, "elsewhere.test", "parked for another day", func(d DomainStatus) bool {
		return d.State == issuance.Parked && d.Next.After(time.Now().Add(23*time.Hour))
	})
	d := w.await(t, "a.test", "tried again", func(d DomainStatus) bool {
		return d.State == issuance.Issued || d.State == issuance.Parked && d.Next.After(time.Now())
	})
	if d.State == issuance.Parked { // it was looked at before nginx answered
		if err := w.console.RetryDomains(t.Context(), []string{"a.test"}, "test"); err != nil {
			t.Fatal(err)
		}
		w.await(t, "a.test", "issued", isState(issuance.Issued))
	}
	w.wantCounts(t, 1, 1, 1)
}

// TestAParkedNameIsToldOnce has the CA refuse a name each day that its preflight
// passes.
func TestAParkedNameIsToldOnce(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{Blocked: []string{"blocked.test"}})
	stop := w.leader(t)
	w.answering(t)
	w.add(t, "blocked.test")
	w.awaitTold(t, "blocked.test", notify.Parked)
	for day := 1; day <= 2; day++ {
		stop()
		ahead := time.Duration(day) * 27 * time.Hour // a look is put off by up to a tenth
		w.now = func() time.Time { return time.Now().Add(ahead) }
		stop = w.leader(t)
		w.await(t, "blocked.test", "parked again", func(d DomainStatus) bool {
			return d.State == issuance.Parked && d.Next.After(w.now().Add(23*time.Hour))
		})
		if orders := w.proxy.Seen(http.MethodPost, "/order-plz"); orders != day+1 {
			t.Fatalf("the CA was asked for %d orders by day %d, want %d", orders, day, day+1)
		}
	}
	if err := w.console.RetryDomains(t.Context(), []string{"blocked.test"}, "test"); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 50*time.Second, "word of what the operator has asked for", func() error {
		if got := w.allTold("blocked.test"); len(got) < 2 {
			return fmt.Errorf("told so far: %s", got)
		}
		return nil
	})
	if got := w.allTold("blocked.test"); !slices.Equal(got, []notify.Kind{notify.Parked, notify.Parked}) || w.proxy.Seen(http.MethodPost, "/order-plz") != 4 {
		t.Errorf("told of a name that was refused each day = %s, want once until the operator has acted, and once then", got)
	}
}

// TestTheLeadersClockIsSet has a leader whose clock is far ahead fail, and sets it
// right.
func TestTheLeadersClockIsSet(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	var ahead atomic.Int64
	ahead.Store(int64(80 * 24 * time.Hour)) // certificates are for 90
	w.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	w.rules.cas[0].Limits = issuance.LetsEncrypt
	w.pebble.SetAddress(t, "a.test", "127.0.0.2") // nobody listens there
	w.leader(t)
	w.answering(t)
	w.add(t, "a.test", "b.test")
	d := w.await(t, "a.test", "waiting", isState(issuance.Waiting))
	if d.Next.Before(time.Now().Add(79 * 24 * time.Hour)) {
		t.Fatalf("Domain() = %+v, want it to wait for months", d)
	}
	w.await(t, "b.test", "issued", isState(issuance.Issued))
	w.pebble.SetAddress(t, "a.test", "127.0.0.1")
	ahead.Store(0)
	w.add(t, "c.test")
	for _, name := range []string{"a.test", "c.test"} {
		w.await(t, name, "issued", isState(issuance.Issued))
	}
	ahead.Store(int64(24 * time.Hour))
	w.add(t, "d.test")
	w.await(t, "d.test", "issued", isState(issuance.Issued))
	w.wantCounts(t, 1, 4, 4)
}

// TestNoStormWhenTheCAWishesAll has the CA wish every certificate to be renewed
// now, and say nonsense about one.
func TestNoStormWhenTheCAWishesAll(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	w.rules.soon = time.Hour // the first leader asks for no window
	stop := w.leader(t)
	w.answering(t)
	names := make([]string, 0, 16)
	for i := 0; len(names) < cap(names)-1; i++ { // one for each sixteenth of the hour but the first
		name := fmt.Sprintf("n%d.test", i)
		if strings.HasPrefix(issuance.ID([]string{name}), fmt.Sprintf("%x", len(names)+1)) {
			names = append(names, name)
		}
	}
	names = append(names, "odd.test")
	w.add(t, names...)
	past := time.Now().Add(-24 * time.Hour).UTC()
	for _, name := range names {
		w.await(t, name, "issued", isState(issuance.Issued))
		b, err := w.store.Bundle(t.Context(), w.item(t, name).Cert.Bundle)
		if err != nil {
			t.Fatal(err)
		}
		end := past.Add(time.Hour)
		if name == "odd.test" {
			end = past.Add(-time.Hour)
		}
		w.pebble.SetRenewalInfo(t, b.Leaf, fmt.Sprintf(`{"suggestedWindow":{"start":%q,"end":%q}}`, past.Format(time.RFC3339), end.Format(time.RFC3339)))
	}
	stop()
	w.rules.soon = 10 * time.Millisecond
	began := time.Now()
	w.leader(t)
	for n, name := range names[:15] {
		testkit.Eventually(t, 50*time.Second, "the window of "+name, func() error {
			if w.item(t, name).Cert.Window == nil {
				return errors.New("it has none")
			}
			return nil
		})
		it := w.item(t, name)
		share := it.Next.Sub(began) * 16 / time.Hour
		if it.State != issuance.Issued || share < time.Duration(n) || share > time.Duration(n+1) {
			t.Errorf("%s is %s, to be renewed after %s, want that within an hour, in the part of its ID", name, it.State, it.Next.Sub(began))
		}
	}
	if it := w.item(t, "odd.test"); it.Cert.Window != nil {
		t.Errorf("a window that ends before it begins is kept: %+v", it.Cert.Window)
	}
	w.wantCounts(t, 1, len(names), len(names))
}

// TestAForeignCertificateIsNotServed has the CA give one name the certificate of
// another.
func TestAForeignCertificateIsNotServed(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	w.leader(t)
	w.answering(t)
	var chain atomic.Value
	w.proxy.Set(testkit.Rule{Path: "/certZ", Fault: func(rw http.ResponseWriter, r *http.Request, pass http.Handler) {
		if text, ok := chain.Load().(string); ok {
			testkit.Body(text)(rw, r, pass)
			return
		}
		pass.ServeHTTP(&copied{ResponseWriter: rw, to: &chain}, r)
	}})
	w.add(t, "a.test")
	w.await(t, "a.test", "issued", isState(issuance.Issued))
	w.add(t, "b.test")
	d := w.await(t, "b.test", "waiting", isState(issuance.Waiting))
	if d.Failure.Stage != issuance.StageCheck || d.Failure.Class != issuance.Recoverable {
		t.Errorf("Domain() = %+v, want a failed check", d.Failure)
	}
	if c, err := w.console.Certificate(t.Context(), "b.test"); err == nil {
		t.Errorf("Certificate() = %+v, want none", c)
	}
	if w.item(t, "b.test").Order != nil {
		t.Error("the order is kept, whose certificate is another's")
	}
}

// copied keeps what is written through it.
type copied struct {
	http.ResponseWriter
	to *atomic.Value
}

func (c *copied) Write(b []byte) (int, error) {
	old, ok := c.to.Load().(string)
	if !ok {
		old = ""
	}
	c.to.Store(old + string(b))
	return c.ResponseWriter.Write(b)
}

// TestWhatCannotBeServedHoldsUpNoOther obtains certificates that meet in one write,
// of which one belongs into a part of the inventory that cannot be read.
func TestWhatCannotBeServedHoldsUpNoOther(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	w.rules.retry = time.Hour // what breaks off once stays away
	w.leader(t)
	w.answering(t)
	key := fmt.Sprintf("tlsfleet/%s/inventory/shards/%d", w.console.cfg.Fleet, inventory.ShardOf("a.test"))
	w.add(t, "first.test")
	w.await(t, "first.test", "issued", isState(issuance.Issued))
	if _, err := w.store.Client().KV().Put(&api.KVPair{Key: key, Value: []byte("spoiled")}, nil); err != nil {
		t.Fatal(err)
	}
	g := newGate("/v1/txn", "/inventory/", 0, false)
	w.consul.Set(g.rule())
	w.add(t, "held.test")
	<-g.reached
	names := []string{"b.test", "c.test", "d.test", "e.test", "f.test", "g.test"}
	w.add(t, append([]string{"a.test"}, names...)...)
	awaitStacks(t, "agent.(*certWriter).serve(", w.rules.parallel) // all but one wait for the writer
	close(g.release)
	for _, name := range append(names, "held.test") {
		w.await(t, name, "issued", isState(issuance.Issued))
	}
	if it := w.item(t, "a.test"); it.State != issuance.Ordering {
		t.Errorf("what cannot be served is %s, want it ordering as before", it.State)
	}
	w.wantCounts(t, 1, 9, 9)
}
