package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

func TestOrphans(t *testing.T) {
	w := shared(t)
	if got, err := w.Orphans(t.Context()); !errors.Is(err, store.ErrMissing) {
		t.Errorf("Orphans() without an inventory = %v, %v, want %v", got, err, store.ErrMissing)
	}
	certs := many(t, 300, "example.com")
	w.edit(t, put(certs...))
	if got, err := w.Orphans(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("Orphans() = %v, %v, want none: all are named", got, err)
	}
	w.put(t, "bundles/not-a-hash", []byte("x"))
	var want []fleet.Hash
	for _, c := range certs[:200] {
		want = append(want, bundle.Hash(c.Bundle))
		c.Bundle = certificate(t, c.Names...).Bundle
		w.edit(t, put(c))
	}
	slices.SortFunc(want, func(a, b fleet.Hash) int { return bytes.Compare(a[:], b[:]) })
	got, err := w.Orphans(t.Context())
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("Orphans() = %d bundles, %v, want the %d that were replaced", len(got), err, len(want))
	}
	named := bundle.Hash(certs[250].Bundle)
	if n, err := w.DropBundles(t.Context(), append(got, named), w.lead(t, "a")); err != nil || n != len(want) {
		t.Errorf("DropBundles() = %d, %v, want %d: one is in use", n, err, len(want))
	}
	if w.index(t, bundleKey(named)) == 0 || w.index(t, bundleKey(want[0])) != 0 {
		t.Error("a bundle in use is gone, or an orphan is not")
	}
	if got, err := w.Orphans(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("Orphans() = %d, %v, want none left", len(got), err)
	}
}

// TestDropBundlesKeepsWhatWasPutMeanwhile puts an orphan's certificate again
// after DropBundles has looked at the inventory and before it deletes.
func TestDropBundlesKeepsWhatWasPutMeanwhile(t *testing.T) {
	w := shared(t)
	cert := certificate(t, "a.example.com")
	w.edit(t, put(cert))
	w.edit(t, remove(cert.Names...))
	hash := bundle.Hash(cert.Bundle)
	proxy := testkit.FaultProxy(t, testkit.SharedConsul(t).Addr)
	var once sync.Once
	proxy.Set(testkit.Rule{Path: "/v1/txn", Fault: deleting(func() {
		once.Do(func() { w.edit(t, put(cert)) })
	})})
	if n, err := w.at(t, proxy.Addr, "").DropBundles(t.Context(), []fleet.Hash{hash}, ""); err != nil || n != 0 {
		t.Errorf("DropBundles() = %d, %v, want 0: the bundle is in use again", n, err)
	}
	if _, err := w.Bundle(t.Context(), hash); err != nil {
		t.Errorf("Bundle() = %v, want the bundle that is in use again", err)
	}
}

// deleting calls before ahead of each transaction that deletes.
func deleting(before func()) testkit.Fault {
	return func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		body := readBody(r)
		if bytes.Contains(body, []byte(`"Verb":"delete"`)) {
			before()
		}
		pass.ServeHTTP(w, r)
	}
}

// TestOrphansWhileNamesMove moves a bundle from name to name while the shards
// are read: it is in use at every moment.
func TestOrphansWhileNamesMove(t *testing.T) {
	w := shared(t)
	cert := certificate(t, "n0.example.com")
	w.edit(t, put(cert))
	stop := make(chan struct{})
	var mover sync.WaitGroup
	mover.Go(func() {
		for i := 0; ; i++ {
			next := cert
			next.Names = []string{fmt.Sprintf("n%d.example.com", i+1)}
			e := put(next)
			e.Remove = []string{fmt.Sprintf("n%d.example.com", i)}
			w.edit(t, e)
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for range 30 {
		if got, err := w.Orphans(t.Context()); len(got) != 0 || err != nil && !errors.Is(err, store.ErrConflict) {
			t.Errorf("Orphans() = %v, %v, want none", got, err)
		}
	}
	close(stop)
	mover.Wait()
}
