package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/consul"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// TestNarrowTokenHidesNoCertificates reads and edits with tokens that may see
// only part of the inventory: Consul then leaves the rest out of its answers.
func TestNarrowTokenHidesNoCertificates(t *testing.T) {
	server := testkit.Consul(t, testkit.ConsulDev(), testkit.ConsulACL())
	w := newWorld(t, server.Addr, server.Token)
	one, two := certificate(t, "a.example.com"), certificate(t, "b.example.com")
	w.edit(t, put(one, two))
	head := w.index(t, "inventory/head")
	n, m := inventory.ShardOf("a.example.com"), inventory.ShardOf("b.example.com")
	hash, other := bundle.Hash(one.Bundle), bundle.Hash(two.Bundle)
	rule := func(path, policy string) string {
		return fmt.Sprintf("key %q { policy = %q }\n", w.key(path), policy)
	}
	part := w.at(t, server.Addr, token(t, server, rule("inventory/head", "write")+rule(shardKey("a.example.com"), "write")+rule(bundleKey(hash), "write")+rule(chainKey(one), "write")))
	nothing := w.at(t, server.Addr, token(t, server, ""))

	shards, bad, err := part.Shards(t.Context(), []int{m, n})
	if err != nil || len(shards) != 1 || shards[0].Shard.Number != n || !errors.Is(bad[m], store.ErrDenied) || errors.Is(bad[m], store.ErrMissing) {
		t.Errorf("Shards() = %d, %v, %v, want shard %d and %v for shard %d", len(shards), bad, err, n, store.ErrDenied, m)
	}
	good, refused, err := part.Bundles(t.Context(), []fleet.Hash{other, hash})
	if err != nil || len(good) != 1 || !errors.Is(refused[other], store.ErrDenied) {
		t.Errorf("Bundles() = %d, %v, %v, want one and %v for the other", len(good), refused, err, store.ErrDenied)
	}
	if _, err := part.Bundle(t.Context(), other); !errors.Is(err, store.ErrDenied) {
		t.Errorf("Bundle() = %v, want %v", err, store.ErrDenied)
	}
	if _, err := nothing.Head(t.Context()); !errors.Is(err, store.ErrDenied) || errors.Is(err, store.ErrMissing) {
		t.Errorf("Head() = %v, want %v", err, store.ErrDenied)
	}
	for name, w := range map[string]world{"part": part, "nothing": nothing} {
		for _, e := range []store.Edit{put(certificate(t, "b.example.com")), remove("b.example.com")} {
			if got, err := w.EditInventory(t.Context(), e, "", nil); !errors.Is(err, store.ErrDenied) || got.Unchanged+got.Added+got.Removed+got.Replaced > 0 {
				t.Errorf("%s: EditInventory() = %+v, %v, want %v", name, got, err, store.ErrDenied)
			}
		}
		if got, err := w.Orphans(t.Context()); len(got) > 0 || !errors.Is(err, store.ErrDenied) {
			t.Errorf("%s: Orphans() = %v, %v, want %v", name, got, err, store.ErrDenied)
		}
		if n, err := w.DropBundles(t.Context(), []fleet.Hash{hash, other}, ""); n > 0 || !errors.Is(err, store.ErrDenied) {
			t.Errorf("%s: DropBundles() = %d, %v, want %v", name, n, err, store.ErrDenied)
		}
	}
	if w.index(t, "inventory/head") != head || w.index(t, bundleKey(other)) == 0 {
		t.Error("a token that may not see everything changed something")
	}
	if got, want := part.edit(t, put(one)), (store.Edited{Epoch: 1, Unchanged: 1}); got != want {
		t.Errorf("EditInventory() of what the token may see = %+v, want %+v", got, want)
	}
}

// TestNarrowTokenToLists lists with tokens that may see part of the keys.
func TestNarrowTokenToLists(t *testing.T) {
	server := testkit.Consul(t, testkit.ConsulDev(), testkit.ConsulACL())
	w := newWorld(t, server.Addr, server.Token)
	cert := certificate(t, "a.example.com")
	w.edit(t, put(cert, certificate(t, "b.example.com")))
	some := w.at(t, server.Addr, token(t, server, `key_prefix "`+w.key("inventory/")+`" { policy = "read" }
		key_prefix "`+w.key(bundleKey(bundle.Hash(cert.Bundle)))+`" { policy = "read" }`))
	if got, err := some.Orphans(t.Context()); len(got) > 0 || !errors.Is(err, store.ErrDenied) {
		t.Errorf("Orphans() = %v, %v, want %v: the list is short", got, err, store.ErrDenied)
	}
	w.drop(t, "inventory/head")
	blind := w.at(t, server.Addr, token(t, server, `key_prefix "`+w.key("inventory/head")+`" { policy = "write" }
		key_prefix "`+w.key(shardKey("c.example.com"))+`" { policy = "write" }`))
	got, err := blind.EditInventory(t.Context(), put(certificate(t, "c.example.com")), "", nil)
	if !errors.Is(err, store.ErrDenied) || !errors.Is(err, consul.ErrFiltered) {
		t.Errorf("EditInventory() without a head = %+v, %v, want %v: the token cannot see whether the fleet is new", got, err, consul.ErrFiltered)
	}
}

// TestShortAnswersHideNoCertificates gives answers that are as short as those
// to a narrow token, without saying so, or come from no Consul at all.
func TestShortAnswersHideNoCertificates(t *testing.T) {
	w := shared(t)
	cert := certificate(t, "a.example.com")
	w.edit(t, put(cert))
	head := w.index(t, "inventory/head")
	empty := testkit.Body(`{"Results":[],"Errors":null}`)
	tests := map[string]struct {
		path  string
		fault testkit.Fault
		want  error // nil: any
	}{
		"no results":  {"/v1/txn", empty, store.ErrDenied},
		"no leader":   {"/v1/txn", testkit.Status(http.StatusInternalServerError), nil},
		"truncated":   {"/v1/txn", testkit.Truncate, nil},
		"other JSON":  {"/v1/txn", bare(`{}`), consul.ErrNoLeader},
		"empty list":  {"/v1/txn", bare(`{"Results":[],"Errors":null}`), consul.ErrNoLeader},
		"not JSON":    {"/v1/txn", testkit.Body("<html>"), nil},
		"named twice": {"/v1/txn", testkit.Body(`{"Results":[null,{"KV":null}],"Errors":null}`), store.ErrDenied},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			proxy := testkit.FaultProxy(t, testkit.SharedConsul(t).Addr)
			shard := "/v1/kv/" + w.key(shardKey("a.example.com"))
			proxy.Set(testkit.Rule{Path: test.path, Fault: test.fault}, testkit.Rule{Path: shard, Fault: test.fault})
			broken := w.at(t, proxy.Addr, "")
			for _, e := range []store.Edit{put(certificate(t, "b.example.com")), remove("a.example.com")} {
				got, err := broken.EditInventory(t.Context(), e, "", nil)
				if err == nil || test.want != nil && !errors.Is(err, test.want) || got.Unchanged > 0 {
					t.Errorf("EditInventory() = %+v, %v, want %v", got, err, test.want)
				}
			}
			n := inventory.ShardOf("a.example.com")
			shards, bad, err := broken.Shards(t.Context(), []int{n})
			if err := errors.Join(err, bad[n]); len(shards) > 0 || err == nil || errors.Is(err, store.ErrMissing) {
				t.Errorf("Shards() = %d, %v, want an error and never %v", len(shards), err, store.ErrMissing)
			}
			if n, err := broken.DropBundles(t.Context(), []fleet.Hash{bundle.Hash(cert.Bundle)}, ""); n > 0 || err == nil {
				t.Errorf("DropBundles() = %d, %v, want an error", n, err)
			}
		})
	}
	if w.index(t, "inventory/head") != head {
		t.Error("the head was written")
	}
	w.expect(t, []store.Certificate{cert})
}

// bare answers without any of Consul's headers.
func bare(text string) testkit.Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json")
		if _, err := bytes.NewBufferString(text).WriteTo(w); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// TestEditInventoryDoesNotStartOver hides the head from an edit, as an answer
// 404 would: a fleet that has certificates gets no new inventory.
func TestEditInventoryDoesNotStartOver(t *testing.T) {
	w := shared(t)
	cert := certificate(t, "a.example.com")
	w.edit(t, put(cert))
	w.drop(t, "inventory/head")
	for _, path := range []string{shardKey("a.example.com"), bundleKey(bundle.Hash(cert.Bundle)), chainKey(cert)} {
		got, err := w.EditInventory(t.Context(), put(certificate(t, "b.example.com")), "", nil)
		if !errors.Is(err, store.ErrMissing) || got.Added > 0 {
			t.Errorf("EditInventory() = %+v, %v, want %v", got, err, store.ErrMissing)
		}
		w.drop(t, path)
	}
	if w.index(t, "inventory/head") != 0 {
		t.Error("a head was written")
	}
}

// TestEditInventoryHeadMadeMeanwhile makes the first head after an edit found
// none: that is no lost head.
func TestEditInventoryHeadMadeMeanwhile(t *testing.T) {
	w := shared(t)
	one, two := certificate(t, "a.example.com"), certificate(t, "b.example.com")
	proxy := testkit.FaultProxy(t, testkit.SharedConsul(t).Addr)
	proxy.Set(testkit.Rule{Method: http.MethodGet, Path: ringURL, Times: 1, Fault: func(rw http.ResponseWriter, r *http.Request, pass http.Handler) {
		w.edit(t, put(one))
		pass.ServeHTTP(rw, r)
	}})
	w.at(t, proxy.Addr, "").edit(t, put(two))
	w.expect(t, []store.Certificate{one, two})
}
