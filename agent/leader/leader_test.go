package leader_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/leader"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

const (
	ttl   = 2 * time.Second
	slack = ttl * 3 / 4 // for a busy machine; Consul waits for another whole TTL
	soon  = 30 * time.Second

	// longTTL is for tests in which a session ends before its time: who waited for
	// that to pass would take longer.
	longTTL = 10 * time.Second
)

// election counts who leads.
type election struct {
	server *testkit.ConsulServer
	key    string
	ttl    time.Duration

	mu    sync.Mutex
	leads map[string]term // who leads now
	terms int             // leads begun so far
	most  int             // most leaders at one time
}

type term struct {
	session string
	end     context.CancelCauseFunc // makes the work return
	began   time.Time
}

func newElection(tb testing.TB, server *testkit.ConsulServer) *election {
	tb.Helper()
	return &election{server: server, key: "tlsfleet/" + testkit.FleetName(tb) + "/leader", ttl: ttl, leads: map[string]term{}}
}

// work is what each leader does: nothing, until it is told to stop.
func (e *election) work(node string) func(context.Context, string) error {
	return func(ctx context.Context, session string) error {
		ctx, end := context.WithCancelCause(ctx)
		e.mu.Lock()
		e.leads[node] = term{session, end, time.Now()}
		e.terms++
		e.most = max(e.most, len(e.leads))
		e.mu.Unlock()
		<-ctx.Done()
		e.mu.Lock()
		delete(e.leads, node)
		e.mu.Unlock()
		return context.Cause(ctx)
	}
}

// run campaigns as node; the function ends that and waits.
func (e *election) run(t *testing.T, node string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	cfg := leader.Config{
		Client: e.server.Client(t), Key: e.key, Node: node, TTL: e.ttl, MinTTL: time.Second, Log: testkit.Logger(t),
	}
	go func() { done <- leader.Run(ctx, cfg, e.work(node)) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run() of %s = %v, want nil when the context ends", node, err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// await waits for a leader of a later term than after, and returns it with the
// number of terms so far.
func (e *election) await(t *testing.T, after int) (string, term, int) {
	t.Helper()
	var node string
	var now term
	var terms int
	testkit.Eventually(t, soon, "a leader", func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		if len(e.leads) != 1 || e.terms <= after {
			return fmt.Errorf("leaders %v in term %d", e.leads, e.terms)
		}
		for node, now = range e.leads {
			terms = e.terms
		}
		return nil
	})
	return node, now, terms
}

func (e *election) awaitNone(t *testing.T, within time.Duration) {
	t.Helper()
	testkit.Eventually(t, within, "no leader", func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		if len(e.leads) != 0 {
			return fmt.Errorf("leaders %v", e.leads)
		}
		return nil
	})
}

func (e *election) check(t *testing.T) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.most != 1 {
		t.Errorf("%d led at one time, want 1", e.most)
	}
}

func (e *election) lock(t *testing.T) (node, session string) {
	t.Helper()
	pair, _, err := e.server.Client(t).KV().Get(e.key, nil)
	if err != nil {
		t.Fatal(err)
	}
	if pair == nil {
		return "", ""
	}
	return string(pair.Value), pair.Session
}

func TestOneOfThreeLeadsAndHandsOver(t *testing.T) {
	e := newElection(t, testkit.SharedConsul(t))
	e.ttl = longTTL
	stop := map[string]func(){}
	for _, node := range []string{"a", "b", "c"} {
		stop[node] = e.run(t, node)
	}
	terms := 0
	for len(stop) > 0 {
		node, now, n := e.await(t, terms)
		terms = n
		if holder, session := e.lock(t); holder != node || session != now.session {
			t.Errorf("the lock names %s with session %s, want %s with %s", holder, session, node, now.session)
		}
		start := time.Now()
		stop[node]()
		delete(stop, node)
		if len(stop) > 0 {
			_, next, _ := e.await(t, terms)
			took := next.began.Sub(start)
			t.Logf("handed over in %s", took)
			if took >= longTTL {
				t.Errorf("hand-over took %s, want no wait for the end of a session", took)
			}
		}
	}
	e.check(t)
	if _, session := e.lock(t); session != "" {
		t.Errorf("the lock is held by %s after all stopped", session)
	}
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for _, code := range []string{"agent/leader.(*candidate)", "agent/consul."} {
		if bytes.Contains(stacks, []byte(code)) {
			t.Errorf("goroutines of %s run after Run returned:\n%s", code, stacks)
		}
	}
}

func TestLeadEndsWithItsSession(t *testing.T) {
	e := newElection(t, testkit.SharedConsul(t))
	e.ttl = longTTL
	e.run(t, "a")
	e.run(t, "b")
	_, now, terms := e.await(t, 0)
	if _, err := e.server.Client(t).Session().Destroy(now.session, nil); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	node, next, _ := e.await(t, terms)
	took := next.began.Sub(start)
	t.Logf("%s took over %s after the session was destroyed", node, took)
	if took >= longTTL || next.session == now.session {
		t.Errorf("%s took over after %s with session %s, want another session and no wait for the end of this one", node, took, next.session)
	}
}

func TestLeadEndsWithItsLock(t *testing.T) {
	e := newElection(t, testkit.SharedConsul(t))
	e.run(t, "a")
	_, now, terms := e.await(t, 0)
	if _, err := e.server.Client(t).KV().Delete(e.key, nil); err != nil {
		t.Fatal(err)
	}
	if _, next, _ := e.await(t, terms); next.session == now.session {
		t.Error("the lead went on after its lock was deleted")
	}
}

func TestLeadEndsWithinTTLWhenConsulFreezes(t *testing.T) {
	server := testkit.Consul(t, testkit.ConsulDev(), testkit.ConsulSessionTTLMin(time.Second))
	e := newElection(t, server)
	e.run(t, "a")
	_, _, terms := e.await(t, 0)
	server.Freeze(t)
	frozen := time.Now()
	e.awaitNone(t, ttl+slack)
	t.Logf("the lead ended %s after Consul froze", time.Since(frozen))
	server.Thaw(t)
	e.await(t, terms)
	e.check(t)
}

func TestLeadOutlivesItsTTL(t *testing.T) {
	e := newElection(t, testkit.SharedConsul(t))
	e.ttl = 6 * time.Second
	e.run(t, "a")
	_, now, _ := e.await(t, 0)
	testkit.Eventually(t, soon, "two TTLs", func() error {
		if age := time.Since(now.began); age < 2*e.ttl {
			return fmt.Errorf("leading for %s", age)
		}
		return nil
	})
	if _, again, terms := e.await(t, 0); terms != 1 || again.session != now.session {
		t.Errorf("leading in term %d, want still the first", terms)
	}
}

func TestLeadSurvivesLostAnswers(t *testing.T) {
	server := testkit.SharedConsul(t)
	proxy := testkit.FaultProxy(t, server.Addr)
	client, err := api.NewClient(&api.Config{Address: proxy.Addr})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	e := newElection(t, server)
	done := make(chan error, 1)
	cfg := leader.Config{Client: client, Key: e.key, Node: "a", TTL: longTTL, MinTTL: time.Second, Log: testkit.Logger(t)}
	go func() { done <- leader.Run(ctx, cfg, e.work("a")) }()
	e.await(t, 0)
	proxy.Set(testkit.Rule{Path: "/v1/session/renew", Times: 1, Fault: testkit.Status(500)},
		testkit.Rule{Path: "/v1/kv", Times: 3, Fault: testkit.Status(500)})
	proxy.CutAll()
	renewals := proxy.Seen("PUT", "/v1/session/renew")
	testkit.Eventually(t, soon, "renewals after the broken one", func() error {
		if n := proxy.Seen("PUT", "/v1/session/renew") - renewals; n < 4 {
			return fmt.Errorf("%d renewals", n)
		}
		return nil
	})
	if _, _, terms := e.await(t, 0); terms != 1 {
		t.Errorf("leading in term %d, want still the first", terms)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run() = %v, want nil", err)
	}
}

func TestLeaderStepsDownWhenItsWorkReturns(t *testing.T) {
	e := newElection(t, testkit.SharedConsul(t))
	e.run(t, "a")
	e.run(t, "b")
	first, now, terms := e.await(t, 0)
	next := first
	for range 5 { // each pause is longer than the one before
		now.end(errors.New("cannot work"))
		if next, now, terms = e.await(t, terms); next != first {
			break
		}
	}
	if next == first {
		t.Errorf("%s leads again and again, want the other while it pauses", first)
	}
	e.check(t)
}

func TestRunStopsWhileConsulIsDown(t *testing.T) {
	client, err := api.NewClient(&api.Config{Address: fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t, "127.0.0.1"))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var led atomic.Bool
	err = leader.Run(ctx, leader.Config{Client: client, Key: "k", Node: "a"}, func(context.Context, string) error {
		led.Store(true)
		return nil
	})
	if err != nil || led.Load() {
		t.Errorf("Run() = %v, led %t, want nil without a lead", err, led.Load())
	}
}

func TestRunRefuses(t *testing.T) {
	client := testkit.SharedConsul(t).Client(t)
	tests := map[string]leader.Config{
		"no client": {Key: "k", Node: "a"},
		"no key":    {Client: client, Node: "a"},
		"bad node":  {Client: client, Key: "k", Node: "a/b"},
		"short ttl": {Client: client, Key: "k", Node: "a", TTL: 9 * time.Second},
	}
	for name, cfg := range tests {
		t.Run(name, func(t *testing.T) {
			if err := leader.Run(t.Context(), cfg, nil); err == nil {
				t.Error("Run() = nil, want an error")
			}
		})
	}
	if err := leader.Run(t.Context(), tests["bad node"], nil); !errors.Is(err, fleet.ErrName) {
		t.Errorf("Run() with node a/b = %v, want %v", err, fleet.ErrName)
	}
}
