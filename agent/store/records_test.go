package store_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// raw reads what is stored.
func (w world) raw(tb testing.TB, path string) []byte {
	tb.Helper()
	pair, _, err := w.client.KV().Get(w.key(path), nil)
	if err != nil || pair == nil {
		tb.Fatalf("read %s: %v, %v", path, pair, err)
	}
	return pair.Value
}

func (w world) drop(tb testing.TB, path string) {
	tb.Helper()
	if _, err := w.client.KV().Delete(w.key(path), nil); err != nil {
		tb.Fatal(err)
	}
}

// plain opens what is stored under one path.
func (w world) plain(tb testing.TB, path string) []byte {
	tb.Helper()
	plain, _, err := w.keyring.Open(w.name, w.key(path), w.raw(tb, path))
	if err != nil {
		tb.Fatal(err)
	}
	return plain
}

// forge seals plain for a path as only a holder of the keyring can.
func (w world) forge(tb testing.TB, path string, epoch uint64, plain []byte) []byte {
	tb.Helper()
	sealed, err := w.keyring.Seal(w.name, w.key(path), epoch, plain)
	if err != nil {
		tb.Fatal(err)
	}
	return sealed
}

// TestRecordsRefuseWhatIsNotWhole spoils each kind of record of two names, in
// every way, and reads all of them with a store that remembers nothing.
func TestRecordsRefuseWhatIsNotWhole(t *testing.T) {
	w := shared(t)
	own, err := newCA()
	if err != nil {
		t.Fatal(err)
	}
	one, two := certificate(t, "a.example.com"), own.issue(t, "b.example.com")
	w.edit(t, put(one))
	old := map[string][]byte{"inventory/head": w.raw(t, "inventory/head"), shardKey("a.example.com"): w.raw(t, shardKey("a.example.com"))}
	w.edit(t, put(two))
	stranger, err := seal.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	hash, other := bundle.Hash(one.Bundle), bundle.Hash(two.Bundle)
	kinds := map[string]struct {
		path, neighbour string
		read            func(world) error
	}{
		"head": {"inventory/head", shardKey("a.example.com"), func(w world) error {
			_, err := w.Head(t.Context())
			return err
		}},
		"shard": {shardKey("a.example.com"), shardKey("b.example.com"), func(w world) error {
			n, m := inventory.ShardOf("a.example.com"), inventory.ShardOf("b.example.com")
			got, bad, err := w.Shards(t.Context(), []int{n, m})
			if err != nil || len(got)+len(bad) != 2 || bad[m] != nil {
				t.Errorf("Shards() = %d records, %v, %v, want the other shard whatever is wrong with this one", len(got), bad, err)
			}
			return bad[n]
		}},
		"bundle": {bundleKey(hash), bundleKey(other), func(w world) error {
			_, err := w.Bundle(t.Context(), hash)
			return errors.Join(err, w.others(t, hash, other))
		}},
		"chain": {chainKey(one), chainKey(two), func(w world) error {
			_, err := w.Bundle(t.Context(), hash)
			return errors.Join(err, w.others(t, hash, other))
		}},
	}
	for kind, k := range kinds {
		good, neighbour := w.raw(t, k.path), w.raw(t, k.neighbour)
		plain := w.plain(t, k.path)
		_, epoch, err := w.keyring.Open(w.name, w.key(k.path), good)
		if err != nil {
			t.Fatal(err)
		}
		flipped := func(at int) []byte {
			b := bytes.Clone(good)
			b[at] ^= 1
			return b
		}
		strange, err := stranger.Seal(w.name, w.key(k.path), epoch, plain)
		if err != nil {
			t.Fatal(err)
		}
		spoiled := map[string][]byte{
			"empty": {}, "cut": good[:len(good)-1], "half": good[:len(good)/2], "longer": append(bytes.Clone(good), 0),
			"first byte": flipped(0), "epoch byte": flipped(16), "last byte": flipped(len(good) - 1), "middle": flipped(len(good) / 2),
			"in clear": plain, "of another path": neighbour, "of another keyring": strange,
			"of another epoch":    w.forge(t, k.path, epoch+1, plain),
			"contents of another": w.forge(t, k.path, epoch, w.plain(t, k.neighbour)),
			"of another schema":   w.forge(t, k.path, epoch, append([]byte{99, 99}, plain[2:]...)),
			"nothing":             w.forge(t, k.path, epoch, nil),
		}
		for name, value := range spoiled {
			t.Run(kind+" "+name, func(t *testing.T) {
				w.put(t, k.path, value)
				if err := k.read(w.fresh(t)); !errors.Is(err, store.ErrRecord) {
					t.Errorf("read = %v, want %v", err, store.ErrRecord)
				}
			})
		}
		t.Run(kind+" missing", func(t *testing.T) {
			w.drop(t, k.path)
			if err := k.read(w.fresh(t)); !errors.Is(err, store.ErrMissing) {
				t.Errorf("read = %v, want %v", err, store.ErrMissing)
			}
		})
		w.put(t, k.path, good)
		if err := k.read(w.fresh(t)); err != nil {
			t.Errorf("%s: read of the whole record = %v, want nil", kind, err)
		}
	}
	for path, value := range old {
		w.put(t, path, value)
	}
	if head, err := w.Head(t.Context()); err != nil || head.Head.Epoch != 1 {
		t.Errorf("Head() of an older record = epoch %d, %v, want it passed on as it is", head.Head.Epoch, err)
	}
}

// fresh is the same fleet, without chains it remembers.
func (w world) fresh(tb testing.TB) world { return w.at(tb, w.addr, "") }

// others reads both bundles at once and returns the error of the first; the
// second has to be there.
func (w world) others(t *testing.T, first, second fleet.Hash) error {
	t.Helper()
	good, bad, err := w.Bundles(t.Context(), []fleet.Hash{first, second})
	if err != nil || bad[second] != nil || bundle.Hash(good[second]) != second {
		t.Errorf("Bundles() = %d, %v, %v, want the other bundle whatever is wrong with this one", len(good), bad, err)
	}
	return bad[first]
}

// TestEditInventoryRefusesSpoiledInventory spoils what an edit has to read: it
// is never taken for an empty inventory.
func TestEditInventoryRefusesSpoiledInventory(t *testing.T) {
	const name = "a.example.com"
	tests := map[string]struct {
		spoil func(*testing.T, world)
		want  error
		other bool // a name of another shard is put all the same
	}{
		"head missing":   {func(t *testing.T, w world) { w.drop(t, "inventory/head") }, store.ErrMissing, false},
		"head spoiled":   {func(t *testing.T, w world) { w.put(t, "inventory/head", []byte("x")) }, store.ErrRecord, false},
		"shard missing":  {func(t *testing.T, w world) { w.drop(t, shardKey(name)) }, store.ErrMissing, true},
		"shard spoiled":  {func(t *testing.T, w world) { w.put(t, shardKey(name), []byte("x")) }, store.ErrRecord, true},
		"all shards":     {func(t *testing.T, w world) { w.drop(t, "inventory/head"); w.drop(t, shardKey(name)) }, store.ErrMissing, false},
		"shard is older": {func(t *testing.T, w world) { w.older(t, shardKey(name)) }, store.ErrRecord, true},
		"head is older":  {func(t *testing.T, w world) { w.older(t, "inventory/head") }, store.ErrRecord, true},
	}
	for title, test := range tests {
		t.Run(title, func(t *testing.T) {
			w := shared(t)
			w.edit(t, put(certificate(t, name)))
			test.spoil(t, w)
			head := w.index(t, "inventory/head")
			for _, e := range []store.Edit{put(certificate(t, name)), remove(name)} {
				if got, err := w.EditInventory(t.Context(), e, "", nil); !errors.Is(err, test.want) || got.Added+got.Replaced+got.Removed != 0 {
					t.Errorf("EditInventory() = %+v, %v, want %v", got, err, test.want)
				}
			}
			if w.index(t, "inventory/head") != head {
				t.Error("the head was written")
			}
			if n, err := w.DropBundles(t.Context(), []fleet.Hash{{1}}, ""); n != 0 || !errors.Is(err, test.want) {
				t.Errorf("DropBundles() = %d, %v, want %v", n, err, test.want)
			}
			if got, err := w.Orphans(t.Context()); len(got) != 0 || !errors.Is(err, test.want) {
				t.Errorf("Orphans() = %v, %v, want %v", got, err, test.want)
			}
			both := put(certificate(t, name), certificate(t, "b.example.com"))
			got, err := w.EditInventory(t.Context(), both, "", nil)
			if !errors.Is(err, test.want) || (got.Added == 1) != test.other {
				t.Errorf("EditInventory() with a name of a good shard = %+v, %v, want %v and that name added: %t", got, err, test.want, test.other)
			}
		})
	}
}

// older changes the inventory and puts a record from before back.
func (w world) older(t *testing.T, path string) {
	t.Helper()
	before := w.raw(t, path)
	w.edit(t, put(certificate(t, "a.example.com")))
	w.put(t, path, before)
}

func TestEditInventoryRepairsBundle(t *testing.T) {
	w := shared(t)
	cert := certificate(t, "a.example.com")
	w.edit(t, put(cert))
	paths := map[string]string{"bundle": bundleKey(bundle.Hash(cert.Bundle)), "chain": chainKey(cert)}
	epoch := uint64(1)
	for kind, path := range paths {
		for how, spoil := range map[string]func(){
			"missing": func() { w.drop(t, path) },
			"spoiled": func() { w.put(t, path, []byte("x")) },
		} {
			spoil()
			epoch++
			got := w.fresh(t).edit(t, put(cert))
			if want := (store.Edited{Epoch: epoch, Replaced: 1}); got != want {
				t.Errorf("%s %s: EditInventory() = %+v, want %+v", kind, how, got, want)
			}
			if _, err := w.fresh(t).Bundle(t.Context(), bundle.Hash(cert.Bundle)); err != nil {
				t.Errorf("%s %s: Bundle() after the same certificate was put = %v, want nil", kind, how, err)
			}
		}
	}
}

func TestBundleReadsChainOnce(t *testing.T) {
	w := shared(t)
	certs := many(t, 3, "example.com")
	w.edit(t, put(certs...))
	proxy := testkit.FaultProxy(t, testkit.SharedConsul(t).Addr)
	node := w.at(t, proxy.Addr, "")
	for _, c := range certs {
		if _, err := node.Bundle(t.Context(), bundle.Hash(c.Bundle)); err != nil {
			t.Fatal(err)
		}
	}
	if n := proxy.Seen("GET", "/v1/kv/"+w.key("chains/")); n != 1 {
		t.Errorf("the chain of three bundles was read %d times, want once", n)
	}
}

// TestOpenLocalCopies opens what a node kept on disk.
func TestOpenLocalCopies(t *testing.T) {
	w := shared(t)
	w.edit(t, put(certificate(t, "a.example.com")))
	rec, err := w.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if head, err := w.OpenHead(rec.Sealed); err != nil || head != rec.Head {
		t.Errorf("OpenHead() = epoch %d, %v, want the head that was read", head.Epoch, err)
	}
	n := inventory.ShardOf("a.example.com")
	shards, bad, err := w.Shards(t.Context(), []int{n})
	if err != nil || len(bad) > 0 {
		t.Fatalf("Shards() = %v, %v", bad, err)
	}
	if shard, err := w.OpenShard(n, shards[0].Sealed); err != nil || shard.Live() != 1 || shard.Entries[0].Changed.After(time.Now()) {
		t.Errorf("OpenShard() = %+v, %v, want the shard that was read", shard, err)
	}
	if _, err := w.OpenShard(n+1, shards[0].Sealed); !errors.Is(err, store.ErrRecord) {
		t.Errorf("OpenShard() under another number = %v, want %v", err, store.ErrRecord)
	}
}
