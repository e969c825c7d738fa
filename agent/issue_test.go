package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/issuer"
	"github.com/tlsfleet/tlsfleet/agent/notify"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// issueWorld is a fleet on a real Consul, a real Pebble behind a proxy, and a
// real nginx that answers challenges.
type issueWorld struct {
	keyring *seal.Keyring
	store   *store.Store
	consul  *testkit.Proxy // between leaders and Consul
	leading *store.Store   // through it
	console *Console
	pebble  *testkit.PebbleServer
	proxy   *testkit.Proxy
	rules   issueRules
	now     func() time.Time // of leaders
	past    past             // of the leader's node

	problems *problems // of the last leader

	mu   sync.Mutex
	told map[string][]notify.Kind // by the first name
}

func (w *issueWorld) tell(e notify.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told[e.Names[0]] = append(w.told[e.Names[0]], e.Kind)
}

// allTold is what receivers were told of a name.
func (w *issueWorld) allTold(name string) []notify.Kind {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.told[name])
}

func (w *issueWorld) lastTold(name string) notify.Kind {
	if all := w.allTold(name); len(all) > 0 {
		return all[len(all)-1]
	}
	return ""
}

// awaitTold waits for a notice, which comes after what it tells of is stored.
func (w *issueWorld) awaitTold(t *testing.T, name string, want notify.Kind) {
	t.Helper()
	testkit.Eventually(t, 50*time.Second, "word of "+name, func() error {
		if got := w.lastTold(name); got != want {
			return fmt.Errorf("told of %s: %s, want %s", name, got, want)
		}
		return nil
	})
}

func newIssueWorld(t *testing.T, o testkit.PebbleOptions) *issueWorld {
	t.Helper()
	keyring, err := seal.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cfg := config.Config{Fleet: testkit.FleetName(t)}
	w := &issueWorld{keyring: keyring, told: map[string][]notify.Kind{}, now: time.Now}
	shared := testkit.SharedConsul(t).Addr
	w.consul = testkit.FaultProxy(t, shared)
	for address, s := range map[string]**store.Store{shared: &w.store, w.consul.Addr: &w.leading} {
		if *s, err = store.Open(store.Config{Address: address, Fleet: cfg.Fleet, Log: testkit.Logger(t)}, keyring); err != nil {
			t.Fatal(err)
		}
	}
	o.HTTPPort = testkit.FreePort(t, "127.0.0.1")
	w.pebble = testkit.Pebble(t, o)
	var directory string
	w.proxy, directory = w.pebble.Proxy(t)
	w.rules = issueRules{
		cas: []issuer.CA{{Name: "pebble", Directory: directory, RootFile: w.pebble.RootFile}}, parallel: 8, responder: issuer.Stateless{},
		soon: windowSoon, retry: 200 * time.Millisecond, preflight: &issuer.Preflight{Resolver: w.pebble.DNS, Port: o.HTTPPort},
	}
	w.console = &Console{cfg: cfg, store: w.store}
	return w
}

func (w *issueWorld) lead(t *testing.T) string {
	t.Helper()
	return holdLock(t, w.store)
}

// holdLock makes a session that holds the leader's lock.
func holdLock(t *testing.T, st *store.Store) string {
	t.Helper()
	client := st.Client()
	session, _, err := client.Session().Create(&api.SessionEntry{TTL: "1h", LockDelay: time.Millisecond}, nil)
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 50*time.Second, "the leader's lock", func() error { // Consul holds it back for a moment
		ok, _, err := client.KV().Acquire(&api.KVPair{Key: st.LeaderKey(), Session: session, Value: []byte("test")}, nil)
		if err == nil && !ok {
			err = errors.New("it is held")
		}
		return err
	})
	return session
}

// leader leads until stop is called; the lock is free then.
func (w *issueWorld) leader(t *testing.T) (stop func()) {
	t.Helper()
	session := w.lead(t)
	end := w.work(t, session)
	var once sync.Once
	stop = func() {
		once.Do(func() {
			end()
			w.depose(t, session)
		})
	}
	t.Cleanup(stop)
	return stop
}

// work does a leader's work, whether the session holds the lock or not, until
// end is called or the test ends.
func (w *issueWorld) work(t *testing.T, session string) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w.problems = newProblems(func() {})
	i := &issue{log: testkit.Logger(t), store: w.leading, rules: w.rules, problems: w.problems, past: func() past { return w.past }, notices: notices{fleet: "test", tell: w.tell}, seen: &leading{}, attempted: func(string) {}, now: w.now}
	done := make(chan struct{})
	go func() {
		defer close(done)
		i.Run(ctx, session)
	}()
	end = func() {
		cancel()
		<-done
	}
	t.Cleanup(end)
	return end
}

// depose takes the lock away.
func (w *issueWorld) depose(t *testing.T, session string) {
	t.Helper()
	if _, err := w.store.Client().Session().Destroy(session, nil); err != nil {
		t.Error(err)
	}
}

// answering starts nginx with the thumbprint that the leader has published.
func (w *issueWorld) answering(t *testing.T) {
	t.Helper()
	var thumbprint string
	testkit.Eventually(t, 50*time.Second, "the account's thumbprint", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := w.store.WatchAnswer(ctx, func(rec store.AnswerRecord, err error) {
			if err == nil {
				thumbprint = rec.Answer.Thumbprint
				cancel()
			}
		})
		if thumbprint == "" {
			return errors.Join(err, errors.New("none yet"))
		}
		return nil
	})
	testkit.NewNginx(t, testkit.NginxOptions{NoInclude: true, HTTP: fmt.Sprintf(`
	server {
		listen 127.0.0.1:%d;
		location ~ "^/\.well-known/acme-challenge/([A-Za-z0-9_-]+)$" { default_type text/plain; return 200 "$1.%s"; }
	}`, w.pebble.HTTPPort, thumbprint)}).Start(t)
}

// await waits until a domain's status is as it should be.
func (w *issueWorld) await(t *testing.T, name, what string, ok func(DomainStatus) bool) DomainStatus {
	t.Helper()
	var d DomainStatus
	testkit.Eventually(t, 50*time.Second, name+" to be "+what, func() error {
		var err error
		if d, err = w.console.Domain(t.Context(), name); err == nil && !ok(d) {
			err = fmt.Errorf("it is %+v", d)
		}
		return err
	})
	return d
}

// awaitStacks waits until so many goroutines are in a function, named as in a
// stack trace: what waits there shows from outside in no other way.
func awaitStacks(t *testing.T, function string, want int) {
	t.Helper()
	stacks := make([]byte, 4<<20)
	testkit.Eventually(t, 50*time.Second, function, func() error {
		if n := bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte(function)); n < want {
			return fmt.Errorf("%d goroutines are in it, want %d", n, want)
		}
		return nil
	})
}

func isState(s issuance.State) func(DomainStatus) bool {
	return func(d DomainStatus) bool { return d.State == s }
}

func (w *issueWorld) add(t *testing.T, names ...string) {
	t.Helper()
	var wishes []issuance.Wish
	for _, name := range names {
		wishes = append(wishes, issuance.Wish{Names: []string{name}})
	}
	if err := w.console.AddDomains(t.Context(), wishes, "test", nil); err != nil {
		t.Fatal(err)
	}
}

func TestDomainsAreObtainedRetriedAndEnded(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{Blocked: []string{"blocked.test"}})
	w.pebble.SetAddress(t, "elsewhere.test", "127.0.0.2") // nobody listens there
	w.leader(t)
	w.answering(t)
	before := w.proxy.Seen(http.MethodPost, "/order-plz")
	w.add(t, "A.test", "b.test", "elsewhere.test", "blocked.test")
	for _, name := range []string{"a.test", "b.test"} {
		w.await(t, name, "issued", isState(issuance.Issued))
		d, err := w.console.Certificate(t.Context(), name)
		if err != nil || d.Source != fleet.SourceACME || d.Problem != "" {
			t.Errorf("Certificate(%s) = %+v, %v, want one by ACME", name, d, err)
		}
	}
	w.await(t, "blocked.test", "parked", isState(issuance.Parked))
	d := w.await(t, "elsewhere.test", "waiting", isState(issuance.Waiting))
	if d.Failure.Stage != issuance.StagePreflight || d.Failures != 1 {
		t.Errorf("Domain() of a name that leads elsewhere = %+v, want a failed preflight", d)
	}
	for name, want := range map[string]notify.Kind{"a.test": notify.Issued, "blocked.test": notify.Parked, "elsewhere.test": notify.Failed} {
		w.awaitTold(t, name, want)
	}
	if n := w.proxy.Seen(http.MethodPost, "/order-plz") - before; n != 3 {
		t.Errorf("the CA was asked for %d orders, want 3: a failed preflight costs it nothing", n)
	}
	w.pebble.SetAddress(t, "elsewhere.test", "127.0.0.1")
	if err := w.console.RetryDomains(t.Context(), []string{"elsewhere.test"}, "test"); err != nil {
		t.Fatal(err)
	}
	w.await(t, "elsewhere.test", "issued", isState(issuance.Issued))
	if err := w.console.EndDomains(t.Context(), []string{"a.test"}, false, "test"); err != nil {
		t.Fatal(err)
	}
	if err := w.console.EndDomains(t.Context(), []string{"b.test"}, true, "test"); err != nil {
		t.Fatal(err)
	}
	for name, served := range map[string]bool{"a.test": false, "b.test": true} {
		if _, err := w.console.Domain(t.Context(), name); !errors.Is(err, ErrUnknownDomain) {
			t.Errorf("Domain(%s) after its end = %v, want %v", name, err, ErrUnknownDomain)
		}
		if _, err := w.console.Certificate(t.Context(), name); (err == nil) != served {
			t.Errorf("Certificate(%s) = %v, want it served %v", name, err, served)
		}
	}
	if err := w.console.RetryDomains(t.Context(), []string{"elsewhere.test", "c.test"}, "test"); !errors.Is(err, ErrUnknownDomain) {
		t.Errorf("RetryDomains() of an unknown name = %v, want %v", err, ErrUnknownDomain)
	}
}

// TestOneUnreadableShardHoldsUpNoOtherRequest ends two certificates, one of which
// has its entry in a part of the inventory that cannot be read.
func TestOneUnreadableShardHoldsUpNoOtherRequest(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	w.leader(t)
	w.answering(t)
	w.add(t, "a.test", "b.test")
	for _, name := range []string{"a.test", "b.test"} {
		w.await(t, name, "issued", isState(issuance.Issued))
	}
	key := fmt.Sprintf("tlsfleet/%s/inventory/shards/%d", w.console.cfg.Fleet, inventory.ShardOf("a.test"))
	if _, err := w.store.Client().KV().Put(&api.KVPair{Key: key, Value: []byte("spoiled")}, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.console.EndDomains(t.Context(), []string{"a.test", "b.test"}, false, "test"); !errors.Is(err, ErrPartial) || !strings.Contains(err.Error(), "a.test") {
		t.Errorf("EndDomains() = %v, want %v for a.test", err, ErrPartial)
	}
	if _, err := w.console.Domain(t.Context(), "b.test"); !errors.Is(err, ErrUnknownDomain) {
		t.Errorf("Domain(b.test) = %v, want %v", err, ErrUnknownDomain)
	}
	w.await(t, "a.test", "still there", isState(issuance.Issued))
	w.add(t, "c.test")
	w.await(t, "c.test", "issued", isState(issuance.Issued))
}

func TestANameIsInOneCertificate(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	w.leader(t)
	w.answering(t)
	group := []issuance.Wish{{Names: []string{"www.a.test", "a.test"}}}
	if err := w.console.AddDomains(t.Context(), group, "test", nil); err != nil {
		t.Fatal(err)
	}
	w.await(t, "www.a.test", "issued", isState(issuance.Issued))
	if err := w.console.AddDomains(t.Context(), []issuance.Wish{{Names: []string{"a.test"}}, {Names: []string{"b.test"}}}, "test", nil); !errors.Is(err, ErrTakenDomain) {
		t.Errorf("AddDomains() of a name of another certificate = %v, want %v", err, ErrTakenDomain)
	}
	w.await(t, "b.test", "issued", isState(issuance.Issued))
	if err := w.console.AddDomains(t.Context(), group, "test", nil); err != nil {
		t.Errorf("AddDomains() again = %v, want nil", err)
	}
}

// TestTheCAsWishRenewsACertificate has the CA wish a renewal now, and a CA that
// says nothing useful before.
func TestTheCAsWishRenewsACertificate(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	w.rules.soon = time.Hour // the first leader asks for no window
	stop := w.leader(t)
	w.answering(t)
	name := ""
	for i := range 100_000 {
		// What is wished at once is spread over an hour by the ID: one of the first.
		if name = fmt.Sprintf("n%d.test", i); strings.HasPrefix(issuance.ID([]string{name}), "0000") {
			break
		}
	}
	w.add(t, name, "calm.test")
	for _, n := range []string{name, "calm.test"} {
		w.await(t, n, "issued", isState(issuance.Issued))
	}
	certificate := func(name string) CertificateDetail {
		t.Helper()
		d, err := w.console.Certificate(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	first, calm := certificate(name), certificate("calm.test")
	past := time.Now().Add(-24 * time.Hour).UTC()
	b, err := w.store.Bundle(t.Context(), first.Bundle)
	if err != nil {
		t.Fatal(err)
	}
	w.pebble.SetRenewalInfo(t, b.Leaf, fmt.Sprintf(`{"suggestedWindow":{"start":%q,"end":%q}}`, past.Format(time.RFC3339), past.Add(time.Hour).Format(time.RFC3339)))
	other, err := w.store.Bundle(t.Context(), calm.Bundle)
	if err != nil {
		t.Fatal(err)
	}
	w.pebble.SetRenewalInfo(t, other.Leaf, "{}")
	stop()
	w.rules.soon = 10 * time.Millisecond
	w.leader(t)
	testkit.Eventually(t, 50*time.Second, "the renewal", func() error {
		if d := certificate(name); d.Serial == first.Serial {
			return errors.New("it is still the first")
		}
		return nil
	})
	w.awaitTold(t, name, notify.Renewed)
	if d := certificate("calm.test"); d.Serial != calm.Serial {
		t.Error("an answer without a window has renewed a certificate")
	}
}

func TestAnOperatorRenews(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	w.leader(t)
	w.answering(t)
	w.add(t, "a.test")
	w.await(t, "a.test", "issued", isState(issuance.Issued))
	first, err := w.console.Certificate(t.Context(), "a.test")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.console.RenewDomains(t.Context(), []string{"a.test"}, "test"); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 50*time.Second, "the renewal", func() error {
		d, err := w.console.Certificate(t.Context(), "a.test")
		if err == nil && d.Serial == first.Serial {
			err = errors.New("it is still the first")
		}
		return err
	})
}

// TestLeadersThatDieObtainOnce ends leaders in the middle of their work, again
// and again, and has others go on.
func TestLeadersThatDieObtainOnce(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	stop := w.leader(t)
	w.answering(t)
	const n = 40
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("n%d.test", i))
	}
	w.add(t, names...)
	for range 6 {
		seen := w.proxy.Seen(http.MethodPost, "")
		testkit.Eventually(t, 50*time.Second, "work to go on", func() error {
			list, _, err := w.console.Domains(t.Context(), DomainFilter{State: issuance.Issued}, false)
			if err == nil && len(list) < n && w.proxy.Seen(http.MethodPost, "") < seen+15 {
				err = errors.New("it does not")
			}
			return err
		})
		stop()
		stop = w.leader(t)
	}
	for _, name := range names {
		w.await(t, name, "issued", isState(issuance.Issued))
	}
	want := testkit.PebbleCounts{Accounts: 1, Orders: n, Certificates: n}
	if got := w.pebble.Counts(t); got != want { // a request that ended on its way to the CA was made again
		t.Errorf("the CA has made %+v, want %+v", got, want)
	}
}
