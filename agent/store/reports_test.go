package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

const reportTTL = 2 * time.Second

// keeper is a running KeepReport.
type keeper struct {
	reports   chan fleet.Report
	published chan outcome // the newest
	stop      func()       // waits for its end
}

// outcome is how a try to publish ended.
type outcome struct{ err error }

func (k keeper) told(err error) {
	select {
	case <-k.published:
	default:
	}
	k.published <- outcome{err}
}

func keep(t *testing.T, w world, node string, first fleet.Report) keeper {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	k := keeper{reports: make(chan fleet.Report, 8), published: make(chan outcome, 1)}
	done := make(chan error, 1)
	told := k.told
	go func() { done <- w.KeepReport(ctx, node, reportTTL, k.reports, told) }()
	k.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("KeepReport() = %v, want nil when the context ends", err)
		}
	})
	t.Cleanup(k.stop)
	k.reports <- first
	return k
}

// await waits for one report that match accepts.
func (w world) await(t *testing.T, what string, match func([]fleet.Report, []store.BadReport) bool) {
	t.Helper()
	testkit.Eventually(t, soon, what, func() error {
		good, bad, err := w.Reports(t.Context())
		if err == nil && !match(good, bad) {
			err = fmt.Errorf("reports %v, bad %v", good, bad)
		}
		return err
	})
}

func seen(node string, epoch uint64) func([]fleet.Report, []store.BadReport) bool {
	return func(good []fleet.Report, _ []store.BadReport) bool {
		for _, r := range good {
			if r.Node == node && r.Seen == epoch {
				return true
			}
		}
		return false
	}
}

func none(good []fleet.Report, bad []store.BadReport) bool { return len(good)+len(bad) == 0 }

func report(node string, seen uint64) fleet.Report {
	return fleet.Report{Node: node, At: time.Now().UTC(), Version: "test", Mode: fleet.ModeRing, Seen: seen}
}

func (w world) holder(t *testing.T, node string) string {
	t.Helper()
	pair, _, err := w.client.KV().Get(w.key("nodes/"+node), nil)
	if err != nil {
		t.Fatal(err)
	}
	if pair == nil {
		return ""
	}
	return pair.Session
}

func TestKeepReportLivesWithItsSession(t *testing.T) {
	w := shared(t)
	if good, bad, err := w.Reports(t.Context()); err != nil || !none(good, bad) {
		t.Fatalf("Reports() of a new fleet = %v, %v, %v, want none", good, bad, err)
	}
	k := keep(t, w, "b", report("b", 1))
	other := keep(t, w, "a", report("a", 1))
	w.await(t, "both reports, sorted", func(good []fleet.Report, bad []store.BadReport) bool {
		return len(bad) == 0 && len(good) == 2 && good[0].Node == "a" && good[1].Node == "b"
	})
	k.reports <- report("b", 2)
	k.reports <- report("b", 3)
	w.await(t, "the newest report", seen("b", 3))

	first := w.holder(t, "b")
	w.destroy(t, first)
	w.await(t, "the report after its session was destroyed", seen("b", 3))
	if again := w.holder(t, "b"); again == first || again == "" {
		t.Errorf("the report is held by session %q after %q was destroyed, want a new one", again, first)
	}
	k.stop()
	other.stop()
	if good, bad, err := w.Reports(t.Context()); err != nil || !none(good, bad) {
		t.Errorf("Reports() after the agents stopped = %v, %v, %v, want none", good, bad, err)
	}
	if w.index(t, "nodes/b") != 0 {
		t.Error("the key of the stopped node is still there")
	}
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for _, code := range []string{"agent/store.(*reportKeeper)", "agent/consul."} {
		if bytes.Contains(stacks, []byte(code)) {
			t.Errorf("goroutines of %s run after KeepReport returned:\n%s", code, stacks)
		}
	}
}

func TestKeepReportRepairsItsKey(t *testing.T) {
	w := shared(t)
	keep(t, w, "a", report("a", 1))
	w.await(t, "the report", seen("a", 1))
	session := w.holder(t, "a")
	w.put(t, "nodes/a", []byte("spoiled"))
	w.await(t, "the spoiled report made good", seen("a", 1))
	if _, err := w.client.KV().Delete(w.key("nodes/a"), nil); err != nil {
		t.Fatal(err)
	}
	w.await(t, "the deleted report made good", seen("a", 1))
	if now := w.holder(t, "a"); now != session {
		t.Errorf("the report is held by session %q, want still %q", now, session)
	}
}

// TestKeepReportTakesOverFromKilledAgent leaves a session behind, as kill -9
// does.
func TestKeepReportTakesOverFromKilledAgent(t *testing.T) {
	w := shared(t)
	left, _, err := w.client.Session().Create(&api.SessionEntry{
		TTL: "1h", Behavior: api.SessionBehaviorDelete, LockDelay: time.Millisecond,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ok, _, err := w.client.KV().Acquire(&api.KVPair{Key: w.key("nodes/a"), Value: []byte("old"), Session: left}, nil)
	if err != nil || !ok {
		t.Fatalf("Acquire() = %t, %v", ok, err)
	}
	keep(t, w, "a", report("a", 1))
	w.await(t, "the report of the new agent, long before the old session ends", seen("a", 1))
}

// TestKeepReportLeavesAnotherHostsReport has two hosts with one node name.
func TestKeepReportLeavesAnotherHostsReport(t *testing.T) {
	w := shared(t)
	if _, err := w.client.Catalog().Register(&api.CatalogRegistration{Node: "other-host", Address: "127.0.0.9"}, nil); err != nil {
		t.Fatal(err)
	}
	theirs, _, err := w.client.Session().CreateNoChecks(&api.SessionEntry{
		Node: "other-host", TTL: "60s", Behavior: api.SessionBehaviorDelete, LockDelay: time.Millisecond,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	pair := &api.KVPair{Key: w.key("nodes/twin"), Value: []byte("theirs"), Session: theirs}
	if ok, _, err := w.client.KV().Acquire(pair, nil); err != nil || !ok {
		t.Fatalf("Acquire() = %t, %v", ok, err)
	}
	k := keep(t, w, "twin", report("twin", 1))
	if got := <-k.published; !errors.Is(got.err, store.ErrNameTaken) {
		t.Errorf("published told %v, want %v", got.err, store.ErrNameTaken)
	}
	got, _, err := w.client.KV().Get(pair.Key, nil)
	if err != nil || got == nil || string(got.Value) != "theirs" {
		t.Errorf("Get() = %v, %v, want the other host's report untouched", got, err)
	}
	if _, err := w.client.Session().Destroy(theirs, nil); err != nil {
		t.Fatal(err)
	}
	w.await(t, "the report once the name is free", seen("twin", 1))
	testkit.Eventually(t, soon, "word that it is published", func() error { return (<-k.published).err })
}

func TestKeepReportSurvivesConsulRestart(t *testing.T) {
	server := testkit.Consul(t, testkit.ConsulDev(), testkit.ConsulSessionTTLMin(time.Second))
	w := newWorld(t, server.Addr, "")
	k := keep(t, w, "a", report("a", 1))
	w.await(t, "the report", seen("a", 1))
	server.Stop(t)
	k.reports <- report("a", 2)
	server.Start(t) // without its state: session and key are gone
	w.await(t, "the newest report", seen("a", 2))
}

func TestKeepReportRefuses(t *testing.T) {
	w := shared(t)
	if err := w.KeepReport(t.Context(), "a/b", reportTTL, nil, nil); !errors.Is(err, fleet.ErrName) {
		t.Errorf("KeepReport() of node a/b = %v, want %v", err, fleet.ErrName)
	}
}

func TestReportsRefuse(t *testing.T) {
	w := shared(t)
	keep(t, w, "good", report("good", 1))
	w.await(t, "the report", seen("good", 1))
	pair, _, err := w.client.KV().Get(w.key("nodes/good"), nil)
	if err != nil {
		t.Fatal(err)
	}
	forge := func(path, plain string) []byte {
		b, err := w.keyring.Seal(w.name, w.key(path), 1, []byte(plain))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	w.put(t, "nodes/copied", pair.Value)
	w.put(t, "nodes/garbage", []byte("x"))
	w.put(t, "nodes/empty", nil)
	w.put(t, "nodes/deep/er", []byte("x"))
	w.put(t, "nodes/unheld", forge("nodes/unheld", `{"schema":1,"session":"","report":{"node":"unheld"}}`))
	w.put(t, "nodes/other", forge("nodes/other", `{"schema":1,"session":"","report":{"node":"good"}}`))
	w.put(t, "nodes/newer", forge("nodes/newer", `{"schema":2,"report":{"node":"newer"}}`))
	good, bad, err := w.Reports(t.Context())
	if err != nil || len(good) != 1 || good[0].Node != "good" {
		t.Errorf("Reports() = %v, %v, want the good one only", good, err)
	}
	var names []string
	for _, b := range bad {
		names = append(names, b.Node)
		if !errors.Is(b.Err, store.ErrRecord) {
			t.Errorf("BadReport of %s = %v, want %v", b.Node, b.Err, store.ErrRecord)
		}
	}
	if got, want := fmt.Sprint(names), "[copied deep/er empty garbage newer other unheld]"; got != want {
		t.Errorf("Reports() refused %s, want %s", got, want)
	}
}

// TestReportOfAnotherVersionIsRead has a report without what this version adds,
// and with what a later one may.
func TestReportOfAnotherVersionIsRead(t *testing.T) {
	w := shared(t)
	keep(t, w, "a", report("a", 1))
	w.await(t, "the report", seen("a", 1))
	session := w.holder(t, "a")
	plain := fmt.Sprintf(`{"schema":1,"session":%q,"later":1,"report":{"node":"a","seen":7,"later":[{"name":"x"}]}}`, session)
	sealed, err := w.keyring.Seal(w.name, w.key("nodes/a"), 1, []byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	ok, _, err := w.client.KV().Acquire(&api.KVPair{Key: w.key("nodes/a"), Value: sealed, Session: session}, nil)
	if err != nil || !ok {
		t.Fatalf("Acquire() = %t, %v", ok, err)
	}
	if got, err := w.Report(t.Context(), "a"); err != nil || got.Seen != 7 || len(got.Archives) > 0 {
		t.Errorf("Report() = %+v, %v, want what is known of it", got, err)
	}
}

// TestReportPutBackIsRefused replays a whole report of the same node from
// before its session was lost.
func TestReportPutBackIsRefused(t *testing.T) {
	w := shared(t)
	k := keep(t, w, "a", report("a", 1))
	w.await(t, "the report", seen("a", 1))
	pair, _, err := w.client.KV().Get(w.key("nodes/a"), nil)
	if err != nil {
		t.Fatal(err)
	}
	k.stop()
	session, _, err := w.client.Session().Create(&api.SessionEntry{TTL: "60s", Behavior: api.SessionBehaviorDelete}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.destroy(t, session)
	testkit.Eventually(t, soon, "the key", func() error {
		ok, _, err := w.client.KV().Acquire(&api.KVPair{Key: pair.Key, Value: pair.Value, Session: session}, nil)
		if err == nil && !ok {
			err = errors.New("acquire refused")
		}
		return err
	})
	good, bad, err := w.Reports(t.Context())
	if err != nil || len(good) != 0 || len(bad) != 1 {
		t.Errorf("Reports() = %v, %v, %v, want one refused report", good, bad, err)
	}
}

func TestWatchReports(t *testing.T) {
	w := shared(t)
	ctx, cancel := context.WithCancel(t.Context())
	calls := make(chan []fleet.Report, 64)
	done := make(chan error, 1)
	go func() {
		done <- w.WatchReports(ctx, func(good []fleet.Report, _ []store.BadReport) { calls <- good })
	}()
	if first := <-calls; len(first) != 0 {
		t.Errorf("WatchReports called with %v first, want none", first)
	}
	until := func(what string, match func([]fleet.Report) bool) {
		timeout := time.After(soon)
		for {
			select {
			case got := <-calls:
				if match(got) {
					return
				}
			case <-timeout:
				t.Fatalf("WatchReports did not tell of %s", what)
			}
		}
	}
	k := keep(t, w, "a", report("a", 1))
	until("a report", func(r []fleet.Report) bool { return len(r) == 1 && r[0].Seen == 1 })
	k.reports <- report("a", 2)
	until("a newer report", func(r []fleet.Report) bool { return len(r) == 1 && r[0].Seen == 2 })
	k.stop()
	until("its end", func(r []fleet.Report) bool { return len(r) == 0 })
	cancel()
	if err := <-done; err != nil {
		t.Errorf("WatchReports() = %v, want nil", err)
	}
}
