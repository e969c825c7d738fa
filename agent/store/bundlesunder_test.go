package store_test

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// TestBundlesUnder reads bundles that begin alike and others that do not, one
// that is spoiled and one that is missing.
func TestBundlesUnder(t *testing.T) {
	w := shared(t)
	certs := many(t, 40, "example.com")
	w.edit(t, put(certs...))
	under := map[string][]fleet.Hash{}
	for _, c := range certs {
		hash := bundle.Hash(c.Bundle)
		under[hash.String()[:1]] = append(under[hash.String()[:1]], hash)
	}
	proxy := testkit.FaultProxy(t, testkit.SharedConsul(t).Addr)
	node := w.at(t, proxy.Addr, "")
	total := 0
	for digits, hashes := range under {
		good, bad, err := node.BundlesUnder(t.Context(), digits, hashes)
		if err != nil || len(bad) > 0 || len(good) != len(hashes) {
			t.Errorf("BundlesUnder(%s) = %d bundles, %v, %v, want %d", digits, len(good), bad, err, len(hashes))
		}
		for hash, b := range good {
			if bundle.Hash(b) != hash {
				t.Errorf("BundlesUnder(%s) = another bundle than %s", digits, hash)
			}
		}
		total += len(good)
	}
	if txn, lists := proxy.Seen(http.MethodPut, "/v1/txn"), proxy.Seen(http.MethodGet, "/v1/kv/"+w.key("bundles/")); total != 40 || txn > 0 || lists != len(under) {
		t.Errorf("%d bundles by %d transactions and %d lists, want 40 by %d lists alone", total, txn, lists, len(under))
	}
	first := bundle.Hash(certs[0].Bundle)
	spoiled, gone := bundle.Hash(certs[1].Bundle), fleet.Hash{1}
	w.put(t, bundleKey(spoiled), []byte("x"))
	all := []fleet.Hash{first, spoiled, gone}
	for what, digits := range map[string]string{"of the first": first.String()[:1], "of the spoiled one": spoiled.String()[:2], "of none": "zz", "none": ""} {
		lists := proxy.Seen(http.MethodGet, "/v1/kv/"+w.key("bundles"))
		good, bad, err := node.BundlesUnder(t.Context(), digits, slices.Clone(all))
		if lists = proxy.Seen(http.MethodGet, "/v1/kv/"+w.key("bundles")) - lists; digits == "" && lists > 0 {
			t.Errorf("BundlesUnder() without digits makes %d lists, want none", lists)
		}
		if err != nil || len(good) != 1 || len(good[first].Leaf) == 0 || len(bad) != 2 || !errors.Is(bad[spoiled], store.ErrRecord) || !errors.Is(bad[gone], store.ErrMissing) {
			t.Errorf("BundlesUnder() with digits %s = %d bundles, %v, %v, want the first, one refused and one missing", what, len(good), bad, err)
		}
	}
}

// TestBundlesUnderWithoutLists has a Consul that does not list, or says that
// there is nothing: what is missing is what it vouches for.
func TestBundlesUnderWithoutLists(t *testing.T) {
	w := shared(t)
	cert := certificate(t, "a.example.com")
	w.edit(t, put(cert))
	hash := bundle.Hash(cert.Bundle)
	for what, answer := range map[string]struct {
		status int
		text   string
	}{
		"denied": {http.StatusForbidden, "Permission denied"},
		"empty":  {http.StatusNotFound, ""},
		"no KV":  {http.StatusOK, `[null,{}]`},
		"cut":    {http.StatusOK, `[{"Key":"a`},
		"hidden": {http.StatusOK, `[]`},
	} {
		proxy := testkit.FaultProxy(t, testkit.SharedConsul(t).Addr)
		// The list, which comes first, and not the bundle.
		proxy.Set(testkit.Rule{
			Method: http.MethodGet, Path: "/v1/kv/" + w.key("bundles/"+hash.String()[:2]), Times: 1,
			Fault: func(rw http.ResponseWriter, _ *http.Request, _ http.Handler) {
				rw.WriteHeader(answer.status)
				if _, err := io.WriteString(rw, answer.text); err != nil {
					t.Error(err)
				}
			},
		})
		node := w.at(t, proxy.Addr, "")
		for range 2 {
			good, bad, err := node.BundlesUnder(t.Context(), hash.String()[:2], []fleet.Hash{hash})
			if err != nil || len(bad) > 0 || len(good[hash].Leaf) == 0 {
				t.Errorf("%s: BundlesUnder() = %d bundles, %v, %v, want it all the same", what, len(good), bad, err)
			}
		}
		lists, want := proxy.Counts()[http.MethodGet+" /v1/kv/"+w.key("bundles/"+hash.String()[:2])], 2
		if what == "denied" || what == "cut" {
			want = 1 // and then not for a while
		}
		if lists != want {
			t.Errorf("%s: %d lists, want %d", what, lists, want)
		}
	}
}

// TestBundlesEndWithTheReading has a Consul that answers the first of two
// transactions.
func TestBundlesEndWithTheReading(t *testing.T) {
	w := shared(t)
	certs := many(t, 20, "example.com")
	w.edit(t, put(certs...))
	var hashes []fleet.Hash
	for _, c := range certs {
		hashes = append(hashes, bundle.Hash(c.Bundle))
	}
	proxy := testkit.FaultProxy(t, testkit.SharedConsul(t).Addr)
	proxy.Set(testkit.Rule{Method: http.MethodPut, Path: "/v1/txn", Skip: 1, Fault: func(rw http.ResponseWriter, _ *http.Request, _ http.Handler) {
		http.Error(rw, "no", http.StatusInternalServerError)
	}})
	if good, bad, err := w.at(t, proxy.Addr, "").Bundles(t.Context(), hashes); err == nil {
		t.Errorf("Bundles() = %d bundles, %v, nil, want an error: nothing is known of the others", len(good), bad)
	}
}
