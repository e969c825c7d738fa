package store_test

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// wanted is what the inventory has to have after the certificates were put.
func wanted(certs []store.Certificate) map[string]fleet.Hash {
	names := map[string]fleet.Hash{}
	for _, c := range certs {
		for _, name := range c.Names {
			names[name] = bundle.Hash(c.Bundle)
		}
	}
	return names
}

func (w world) expect(t *testing.T, certs []store.Certificate) {
	t.Helper()
	got, want := w.served(t), wanted(certs)
	if !maps.Equal(got, want) {
		t.Errorf("the inventory has %d names, want %d, each with its bundle", len(got), len(want))
	}
	for name, hash := range want {
		if got[name] != hash {
			t.Errorf("%s is served with %s, want %s", name, got[name], hash)
			return
		}
	}
}

func TestEditInventoryManyNames(t *testing.T) {
	const n = 5000
	w := shared(t)
	count := counted(t, w)
	certs := many(t, n, "example.com")
	var told []int
	start := time.Now()
	got, err := count.EditInventory(t.Context(), put(certs...), "", func(done, total int) {
		if total != n {
			t.Errorf("progress(%d, %d), want a total of %d", done, total, n)
		}
		told = append(told, done)
	})
	took := time.Since(start)
	writes := count.writes()
	if want := (store.Edited{Epoch: uint64(writes), Added: n}); err != nil || got != want {
		t.Errorf("EditInventory() = %+v, %v, want %+v", got, err, want)
	}
	t.Logf("%d names in %d transactions, %s; the largest had %d operations and %d bytes", n, writes, took, count.maxOps, count.maxBody)
	if count.maxOps > 128 || count.maxBody > 512<<10 {
		t.Errorf("a transaction of %d operations and %d bytes, want at most 128 and 524288", count.maxOps, count.maxBody)
	}
	if writes > 60 {
		t.Errorf("%d transactions, want at most 60: 124 of 128 operations are left for bundles and shards", writes)
	}
	if len(told) != writes || told[len(told)-1] != n {
		t.Errorf("progress was called with %v, want once for each transaction up to %d", told, n)
	}
	w.expect(t, certs)
	chain, _, err := w.client.KV().Get(w.key(chainKey(certs[0])), nil)
	if err != nil || chain == nil || chain.ModifyIndex != chain.CreateIndex {
		t.Errorf("the chain of all is %+v, %v, want it written once", chain, err)
	}
	start = time.Now()
	again, err := count.EditInventory(t.Context(), put(certs...), "", nil)
	t.Logf("the same again: %s", time.Since(start))
	if want := (store.Edited{Epoch: got.Epoch, Unchanged: n}); err != nil || again != want || count.writes() != writes {
		t.Errorf("EditInventory() again = %+v, %v in %d transactions, want %+v in none", again, err, count.writes()-writes, want)
	}
}

// TestEditInventorySplitsOneShard has more for one shard than one transaction
// can take, by operations.
func TestEditInventorySplitsOneShard(t *testing.T) {
	w := shared(t)
	count := counted(t, w)
	var certs []store.Certificate
	for _, name := range sameShard(200) {
		certs = append(certs, certificate(t, name))
	}
	w.edit(t, put(certs[:50]...))
	got := count.edit(t, put(certs...))
	if want := (store.Edited{Epoch: 3, Added: 150, Unchanged: 50}); got != want || count.writes() != 2 {
		t.Errorf("EditInventory() = %+v in %d transactions, want %+v in 2", got, count.writes(), want)
	}
	w.expect(t, certs)
}

// TestEditInventorySplitsByBytes puts bundles into one shard that are large
// together.
func TestEditInventorySplitsByBytes(t *testing.T) {
	w := shared(t)
	count := counted(t, w)
	var certs []store.Certificate
	for i, name := range sameShard(12) {
		certs = append(certs, certificate(t, name))
		certs[i].Bundle.Leaf = append(make([]byte, 100<<10), certs[i].Bundle.Leaf...)
	}
	count.edit(t, put(certs...))
	if got := count.writes(); got != 4 || count.maxBody > 512<<10 {
		t.Errorf("%d transactions of up to %d bytes, want 4 of three bundles of 136 KiB each", got, count.maxBody)
	}
	w.expect(t, certs)
}

func TestEditInventoryOneBundleOfManyNames(t *testing.T) {
	w := shared(t)
	count := counted(t, w)
	names := make([]string, 1000)
	for i := range names {
		names[i] = fmt.Sprintf("n%d.example.net", i)
	}
	cert := certificate(t, names...)
	count.edit(t, put(cert))
	if got := count.writes(); got > 11 {
		t.Errorf("%d transactions for 1,000 names of one certificate, want at most 11", got)
	}
	w.expect(t, []store.Certificate{cert})
}

func TestEditInventoryOfTwoAtOnce(t *testing.T) {
	tests := map[string]struct{ writers, edits, names int }{
		"two imports":       {2, 1, 400},
		"eight of one name": {8, 5, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := shared(t)
			var all []store.Certificate
			var writers sync.WaitGroup
			for i := range test.writers {
				for k := range test.edits {
					all = append(all, many(t, test.names, fmt.Sprintf("w%d-%d.example.com", i, k))...)
				}
			}
			each := test.edits * test.names
			for i := range test.writers {
				mine := all[i*each : (i+1)*each]
				other := w.at(t, testkit.SharedConsul(t).Addr, "")
				writers.Go(func() {
					for k := range test.edits {
						part := mine[k*test.names : (k+1)*test.names]
						if got, err := other.EditInventory(t.Context(), put(part...), "", nil); err != nil || got.Added != len(part) {
							t.Errorf("EditInventory() of writer %d = %+v, %v, want %d added", i, got, err, len(part))
						}
					}
				})
			}
			writers.Wait()
			w.expect(t, all)
		})
	}
}

func TestEditInventoryIsFenced(t *testing.T) {
	w := shared(t)
	orphan := w.orphan(t)
	before := w.index(t, "inventory/head")
	former := w.lead(t, "a")
	w.destroy(t, former)
	late := certificate(t, "b.example.com")
	refused := func(when string) {
		got, err := w.EditInventory(t.Context(), put(late), former, nil)
		if !errors.Is(err, store.ErrFenced) || got != (store.Edited{}) {
			t.Errorf("%s: EditInventory() by the former leader = %+v, %v, want %v", when, got, err, store.ErrFenced)
		}
		if n, err := w.DropBundles(t.Context(), []fleet.Hash{orphan}, former); n != 0 || !errors.Is(err, store.ErrFenced) {
			t.Errorf("%s: DropBundles() by the former leader = %d, %v, want %v", when, n, err, store.ErrFenced)
		}
	}
	refused("no leader")
	present := w.lead(t, "b")
	refused("another leader")
	hash := bundle.Hash(late.Bundle)
	if w.index(t, "inventory/head") != before || w.index(t, bundleKey(hash)) != 0 || w.index(t, bundleKey(orphan)) == 0 {
		t.Error("a former leader wrote")
	}
	if _, err := w.EditInventory(t.Context(), put(late), present, nil); err != nil {
		t.Errorf("EditInventory() by the leader = %v, want nil", err)
	}
}

// orphan makes a bundle that no shard names.
func (w world) orphan(tb testing.TB) fleet.Hash {
	tb.Helper()
	name := "orphan.example.com"
	cert := certificate(tb, name)
	w.edit(tb, put(cert))
	w.edit(tb, remove(name))
	return bundle.Hash(cert.Bundle)
}

func TestEditInventoryAnswerLost(t *testing.T) {
	w := shared(t)
	proxy := testkit.FaultProxy(t, testkit.SharedConsul(t).Addr)
	proxy.Set(testkit.Rule{Path: "/v1/txn", Skip: 1, Times: 1, Fault: testkit.Lost})
	cert := certificate(t, "a.example.com")
	proxied := w.at(t, proxy.Addr, "")
	if got, err := proxied.EditInventory(t.Context(), put(cert), "", nil); err == nil || errors.Is(err, store.ErrConflict) {
		t.Errorf("EditInventory() without an answer = %+v, %v, want an error that leaves it open", got, err)
	}
	if got, want := proxied.edit(t, put(cert)), (store.Edited{Epoch: 1, Unchanged: 1}); got != want {
		t.Errorf("EditInventory() again = %+v, want %+v", got, want)
	}
}
