package store_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/consul"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// listenHead watches the head until the test ends.
func listenHead(t *testing.T, w world) *listener {
	t.Helper()
	l := &listener{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- w.WatchHead(ctx, func(rec store.HeadRecord, err error) {
			if errors.Is(err, store.ErrRecord) && (rec.Index == 0 || len(rec.Sealed) == 0) {
				t.Error("WatchHead tells of a refused record without it")
			}
			l.add(heard{rec.Head.Epoch, err, time.Now()})
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("WatchHead() = %v, want nil when the context ends", err)
		}
	})
	return l
}

func TestWatchHeadTellsEachStateOnce(t *testing.T) {
	w := shared(t)
	pace := consul.DefaultPace()
	pace.MinRetry, pace.MaxRetry = time.Minute, time.Minute // a missing head is no error to retry
	store.SetPace(w.Store, pace)
	l := listenHead(t, w)
	_, n := l.until(t, 0, "a missing head", failed(store.ErrMissing))
	cert := certificate(t, "a.example.com")
	w.edit(t, put(cert))
	_, n = l.until(t, n, "the first head", epoch(1))
	w.edit(t, put(cert))
	good := w.raw(t, "inventory/head")
	w.put(t, "inventory/head", good[:len(good)-1])
	_, n = l.until(t, n, "the cut record", failed(store.ErrRecord))
	w.put(t, "inventory/head", good)
	_, n = l.until(t, n, "the head again", epoch(1))
	w.edit(t, put(certificate(t, "b.example.com")))
	_, n = l.until(t, n, "the next head", epoch(2))
	if all := l.all(); n != 5 || len(all) != 5 {
		t.Errorf("WatchHead called %d times, want 5: %v", len(all), all)
	}
}

// TestWatchHeadRestsAfterNews: nobody asks for the next head while all fetch what
// one brings, and what comes meanwhile is not missed.
func TestWatchHeadRestsAfterNews(t *testing.T) {
	w := shared(t)
	w.edit(t, put(certificate(t, "a.example.com")))
	proxy := testkit.FaultProxy(t, testkit.SharedConsul(t).Addr)
	asked := make(chan time.Time, 100)
	proxy.Set(testkit.Rule{Path: "/v1/kv/" + w.key("inventory/head"), Fault: func(rw http.ResponseWriter, r *http.Request, pass http.Handler) {
		asked <- time.Now()
		pass.ServeHTTP(rw, r)
	}})
	l := listenHead(t, w.at(t, proxy.Addr, ""))
	first, n := l.until(t, 0, "the head", epoch(1))
	<-asked
	w.edit(t, put(certificate(t, "b.example.com")))
	l.until(t, n, "the next head", epoch(2))
	if rest := (<-asked).Sub(first.at); rest < store.HeadRest {
		t.Errorf("the next head was asked for %s after the first, want %s at least", rest, store.HeadRest)
	}
}
