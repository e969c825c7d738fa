package store_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/consul"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

const ringURL = "/v1/kv/tlsfleet/"

// heard is one call of the watch's function.
type heard struct {
	epoch uint64
	err   error
	at    time.Time
}

type listener struct {
	mu    sync.Mutex
	calls []heard
}

// listen watches the ring until the test ends.
func listen(t *testing.T, w world) *listener {
	t.Helper()
	l := &listener{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.WatchRing(ctx, l.hear) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("WatchRing() = %v, want nil when the context ends", err)
		}
	})
	return l
}

func (l *listener) hear(rec store.RingRecord, err error) {
	l.add(heard{rec.Ring.Epoch, err, time.Now()})
}

func (l *listener) add(h heard) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, h)
}

func (l *listener) all() []heard {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]heard(nil), l.calls...)
}

// until waits for a call after the first n, and returns it with the number of
// calls up to it.
func (l *listener) until(t *testing.T, n int, what string, match func(heard) bool) (heard, int) {
	t.Helper()
	var found heard
	at := 0
	testkit.Eventually(t, soon, what, func() error {
		all := l.all()
		for i := n; i < len(all); i++ {
			if match(all[i]) {
				found, at = all[i], i+1
				return nil
			}
		}
		return fmt.Errorf("calls so far: %v", all)
	})
	return found, at
}

func epoch(want uint64) func(heard) bool {
	return func(h heard) bool { return h.err == nil && h.epoch == want }
}

func failed(want error) func(heard) bool {
	return func(h heard) bool { return errors.Is(h.err, want) }
}

func noContact(h heard) bool {
	return h.err != nil && !errors.Is(h.err, store.ErrMissing) && !errors.Is(h.err, store.ErrRecord)
}

func TestWatchRingSeesChangesAtOnce(t *testing.T) {
	w := shared(t)
	pace := consul.DefaultPace()
	pace.MinRetry, pace.MaxRetry = time.Minute, time.Minute // a missing ring is no error to retry: longer than until waits
	store.SetPace(w.Store, pace)
	l := listen(t, w)
	_, n := l.until(t, 0, "a missing ring", failed(store.ErrMissing))
	for e := uint64(1); e <= 3; e++ {
		w.create(t, e)
		l.until(t, n, fmt.Sprintf("epoch %d", e), epoch(e))
	}
}

func TestWatchRingTellsEachStateOnce(t *testing.T) {
	w := shared(t)
	w.create(t, 1)
	l := listen(t, w)
	_, n := l.until(t, 0, "the ring", epoch(1))
	w.put(t, "tickets/ring", []byte("spoiled"))
	_, n = l.until(t, n, "the spoiled record", failed(store.ErrRecord))
	if _, err := w.client.KV().Delete(w.key("tickets/ring"), nil); err != nil {
		t.Fatal(err)
	}
	_, n = l.until(t, n, "the missing record", failed(store.ErrMissing))
	w.put(t, "tickets/ring2", []byte("wakes nobody"))
	w.create(t, 2)
	_, n = l.until(t, n, "the new ring", epoch(2))
	if all := l.all(); n != 4 || len(all) != 4 {
		t.Errorf("WatchRing called %d times, want 4: %v", len(all), all)
	}
}

func TestWatchRingSurvivesConsulRestart(t *testing.T) {
	server := testkit.Consul(t)
	w := newWorld(t, server.Addr, "")
	w.create(t, 1)
	l := listen(t, w)
	_, n := l.until(t, 0, "the ring", epoch(1))
	stopped := time.Now()
	server.Stop(t)
	_, n = l.until(t, n, "loss of contact", noContact)
	server.Start(t)
	started := time.Now()
	h, n := l.until(t, n, "the same ring again", epoch(1))
	// A pause is twice the one before, each up to half more or less.
	if took, away := h.at.Sub(started), started.Sub(stopped); took > 3*away+2*time.Second {
		t.Errorf("contact came back %s after Consul, which was away for %s, want it sooner", took, away)
	}
	w.create(t, 2)
	l.until(t, n, "the next ring", epoch(2))
}

// TestWatchRingAfterSnapshotRestore restores an older state: the index that
// the watch waits for goes backwards.
func TestWatchRingAfterSnapshotRestore(t *testing.T) {
	server := testkit.Consul(t)
	w := newWorld(t, server.Addr, "")
	w.create(t, 1)
	snapshot, _, err := w.client.Snapshot().Save(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := snapshot.Close(); err != nil {
			t.Error(err)
		}
	}()
	for range 20 {
		w.put(t, "other", []byte("moves the index"))
	}
	w.create(t, 2)
	l := listen(t, w)
	_, n := l.until(t, 0, "the ring", epoch(2))
	if err := w.client.Snapshot().Restore(nil, snapshot); err != nil {
		t.Fatal(err)
	}
	_, n = l.until(t, n, "the restored ring", epoch(1))
	w.create(t, 3)
	l.until(t, n, "a ring after that", epoch(3))
}

// slowPace pauses 100, 200, 400, 400... ms after errors, each up to half less,
// and lets two answers in a row pass at once.
func slowPace() consul.Pace {
	p := consul.DefaultPace()
	p.MinRetry, p.MaxRetry, p.Every, p.Burst = 100*time.Millisecond, 400*time.Millisecond, 200*time.Millisecond, 2
	return p
}

func TestWatchRingBacksOff(t *testing.T) {
	tests := map[string]struct {
		fault testkit.Fault
		want  func(heard) bool
	}{
		"500":             {testkit.Status(http.StatusInternalServerError), noContact},
		"429":             {testkit.Status(http.StatusTooManyRequests), noContact},
		"403":             {testkit.Status(http.StatusForbidden), failed(store.ErrDenied)},
		"cut":             {testkit.Cut, noContact},
		"truncated":       {testkit.Truncate, noContact},
		"index 0":         {testkit.Index(0), epoch(1)},
		"index backwards": {testkit.Index(1), epoch(1)},
		"not JSON":        {testkit.Body("<html>"), noContact},
		"no leader": {func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("X-Consul-Index", "1")
			w.WriteHeader(http.StatusNotFound)
		}, failed(consul.ErrNoLeader)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := shared(t)
			w.create(t, 1)
			proxy := testkit.FaultProxy(t, testkit.SharedConsul(t).Addr)
			proxy.Set(testkit.Rule{Path: ringURL, Fault: test.fault})
			broken := w.at(t, proxy.Addr, "")
			pace := slowPace()
			if name != "index backwards" { // after all others the pause alone must do
				pace.Every = time.Millisecond
			}
			store.SetPace(broken.Store, pace)
			start := time.Now()
			l := listen(t, broken)
			testkit.Eventually(t, soon, "six requests", func() error {
				if n := proxy.Seen(http.MethodGet, ringURL); n < 6 {
					return fmt.Errorf("%d requests", n)
				}
				return nil
			})
			if took := time.Since(start); took < 600*time.Millisecond {
				t.Errorf("six requests took %s, want at least 600ms", took)
			}
			if all := l.all(); len(all) != 1 || !test.want(all[0]) {
				t.Errorf("WatchRing called with %v, want one call for the state", all)
			}
			proxy.Set()
			w.create(t, 2)
			l.until(t, 0, "the ring through the mended proxy", epoch(2))
		})
	}
}

// TestWatchRingEmptyAnswer answers "[]" and 404 as Consul does where a token
// may see nothing: missing, said once, and no reason to ask more often.
func TestWatchRingEmptyAnswer(t *testing.T) {
	for name, fault := range map[string]testkit.Fault{"empty list": testkit.EmptyList, "404": testkit.NotFound} {
		t.Run(name, func(t *testing.T) {
			w := shared(t)
			w.create(t, 1)
			proxy := testkit.FaultProxy(t, testkit.SharedConsul(t).Addr)
			proxied := w.at(t, proxy.Addr, "")
			store.SetPace(proxied.Store, slowPace())
			l := listen(t, proxied)
			_, n := l.until(t, 0, "the ring", epoch(1))
			proxy.Set(testkit.Rule{Path: ringURL, Times: 5, Fault: fault})
			start := time.Now()
			proxy.CutAll()
			_, n = l.until(t, n, "the missing ring", failed(store.ErrMissing))
			_, n = l.until(t, n, "the ring again", epoch(1))
			if took := time.Since(start); took < 600*time.Millisecond {
				t.Errorf("five answers took %s, want at least 600ms", took)
			}
			if len(l.all()) != n {
				t.Errorf("WatchRing called with %v, want each state once", l.all())
			}
		})
	}
}

func TestWatchRingSeesFrozenConsul(t *testing.T) {
	server := testkit.Consul(t, testkit.ConsulDev())
	w := newWorld(t, server.Addr, "")
	pace := slowPace()
	pace.Wait, pace.Grace = 500*time.Millisecond, 500*time.Millisecond
	store.SetPace(w.Store, pace)
	w.create(t, 1)
	l := listen(t, w)
	_, n := l.until(t, 0, "the ring", epoch(1))
	server.Freeze(t)
	_, n = l.until(t, n, "loss of contact", noContact)
	server.Thaw(t)
	l.until(t, n, "the ring again", epoch(1))
}

func TestRingTimesOut(t *testing.T) {
	w := shared(t)
	proxy := testkit.FaultProxy(t, testkit.SharedConsul(t).Addr)
	proxy.Set(testkit.Rule{Path: ringURL, Fault: testkit.Hang})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := w.at(t, proxy.Addr, "").Ring(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Ring() of a hanging Consul = %v, want %v", err, context.DeadlineExceeded)
	}
}
