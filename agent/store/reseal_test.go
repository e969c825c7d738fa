package store_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/site"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// rotated is the keyring with a new key that seals.
func rotated(t *testing.T, k *seal.Keyring) *seal.Keyring {
	t.Helper()
	added, err := k.Add(rand.Reader)
	if err == nil {
		added, err = added.Promote()
	}
	if err != nil {
		t.Fatal(err)
	}
	return added
}

// with is the same fleet, seen with other keyrings.
func (w world) with(t *testing.T, fleet, leaders *seal.Keyring) world {
	t.Helper()
	s, err := store.Open(store.Config{Address: w.addr, Fleet: w.name, Leaders: leaders, Log: testkit.Logger(t)}, fleet)
	if err != nil {
		t.Fatal(err)
	}
	return world{Store: s, name: w.name, addr: w.addr, keyring: fleet, client: s.Client()}
}

// furnish writes a record of every kind and returns the paths of all.
func (w world) furnish(t *testing.T, session string) []string {
	t.Helper()
	for what, err := range map[string]error{
		"meta": w.EnsureMeta(t.Context(), session), "answer": w.PutAnswer(t.Context(), answer(1), session),
		"items":     w.PutItems(t.Context(), append(ordersOf(t, 3), item(t, "plain.test")), session),
		"limit":     w.PutSlotLimit(t.Context(), store.SlotLimit{Slots: 2}, session),
		"used":      w.PutUsed(t.Context(), "ca", map[string]time.Time{"x": time.Now()}, session),
		"challenge": w.PutChallenge(t.Context(), store.Challenge{Token: "token", Thumbprint: answer(1).Thumbprint, At: time.Now()}, session),
	} {
		if err != nil {
			t.Fatalf("write %s: %v", what, err)
		}
	}
	if _, err := w.PutRing(t.Context(), ring(t, 4), 0, session); err != nil {
		t.Fatal(err)
	}
	if _, err := w.PutAccount(t.Context(), account("k"), 0, session); err != nil {
		t.Fatal(err)
	}
	if _, err := w.PutRotation(t.Context(), store.Rotation{To: "x"}, 0); err != nil {
		t.Fatal(err)
	}
	w.edit(t, put(many(t, 150, "many.test")...)) // more than one transaction
	w.edit(t, remove("n0.many.test"))
	w.editSites(t, store.SiteEdit{Put: sitesNamed("one", "two")})
	if _, err := w.PutWave(t.Context(), aWave(1, 0), store.WaveRecord{}, session); err != nil {
		t.Fatal(err)
	}
	head, err := w.SiteHead(t.Context())
	if err == nil {
		_, err = w.PinSites(t.Context(), head.Head, site.Head{}, nil, session)
	}
	if err != nil {
		t.Fatal(err)
	}
	keys, _, err := w.client.KV().Keys(w.key(""), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, key := range keys {
		if key != w.LeaderKey() {
			paths = append(paths, strings.TrimPrefix(key, w.key("")))
		}
	}
	return paths
}

// pinnedPath is a path of what is pinned; it is sealed without its epoch.
var pinnedPath = regexp.MustCompile(`^(waves/heads/|waves/sites/[^/]+)/?[0-9]+$`)

// ordersOf are items with orders under way, the same in every call but for times.
func ordersOf(t *testing.T, n int) []issuance.Item {
	t.Helper()
	var list []issuance.Item
	for i := range n {
		list = append(list, ordered(t, fmt.Sprintf("o%d.test", i)))
	}
	return list
}

func sitesNamed(ids ...string) []site.Site {
	var list []site.Site
	for _, id := range ids {
		list = append(list, aSite(id))
	}
	return list
}

// TestResealKeepsContents: each kind of record is the same at the same epoch under
// the new key, no reader notices, and the old key opens nothing any more.
func TestResealKeepsContents(t *testing.T) {
	t.Parallel()
	w := shared(t)
	oldLeaders := keyring(t)
	w = w.with(t, w.keyring, oldLeaders)
	session := w.lead(t, "a")
	paths := w.furnish(t, session)
	before := map[string][]byte{}
	for _, path := range paths {
		before[path] = w.raw(t, path)
	}
	leaders := rotated(t, oldLeaders)
	n := w.with(t, rotated(t, w.keyring), leaders)
	reseal := func(when string, changed int) {
		t.Helper()
		own, err := n.Reseal(t.Context(), store.LeaderArea, session, nil)
		if err != nil || len(own.Bad) > 0 || own.Seen != own.Total {
			t.Fatalf("%s: Reseal() = %+v, %v, want all records", when, own, err)
		}
		sites, err := n.Reseal(t.Context(), store.OperatorArea, "", nil)
		if err != nil || len(sites.Bad) > 0 || own.Changed+sites.Changed != changed {
			t.Errorf("%s: %d and %d records sealed anew, %v, want %d", when, own.Changed, sites.Changed, err, changed)
		}
	}
	reseal("the first time", len(paths))
	reseal("again", 0)
	after := n.with(t, n.keyring.Retire(), leaders.Retire())
	for _, path := range paths {
		opener, was := after.keyring, w.keyring
		if path == "acme/account" {
			opener, was = leaders.Retire(), oldLeaders
		}
		sealedFor := w.key(pinnedPath.ReplaceAllString(path, "$1"))
		got, epoch, err := opener.Open(w.name, sealedFor, w.raw(t, path))
		want, wantEpoch, wantErr := was.Open(w.name, sealedFor, before[path])
		if err != nil || wantErr != nil || epoch != wantEpoch || !bytes.Equal(got, want) && !strings.HasPrefix(path, "issuance/") {
			t.Errorf("%s at epoch %d, %v, want the same contents at %d, %v", path, epoch, err, wantEpoch, wantErr)
		}
	}
	for _, it := range ordersOf(t, 3) {
		got, err := after.Item(t.Context(), it.ID())
		if err != nil || !got.Order.Key.Equal(it.Order.Key) {
			t.Errorf("Item(%s) = %v, %v, want its private key", it, got, err)
		}
	}
	if head, err := after.PinnedHead(t.Context(), 1); err != nil {
		t.Errorf("PinnedHead(1) = %v", err)
	} else if list, bad, err := after.PinnedSites(t.Context(), head.Head.Sites); err != nil || len(list) != 2 {
		t.Errorf("PinnedSites() = %d, %v, %v, want both", len(list), bad, err)
	}
	count, err := after.Tally(t.Context(), store.ReadableArea, nil)
	if err != nil || len(count) != 1 || count[after.Keys()[0]] == 0 {
		t.Errorf("Tally() = %v, %v, want all under %s", count, err, after.Keys()[0])
	}
	w.put(t, "waves/current", before["waves/current"])
	if count, err := after.Tally(t.Context(), store.ReadableArea, nil); err != nil || count[w.keyring.Sealing()] != 1 {
		t.Errorf("Tally() = %v, %v, want the wave under %s", count, err, w.keyring.Sealing())
	}
}

// TestResealMeetsOtherWriters: what somebody else writes between the read and the
// write is neither lost nor left under the old key.
func TestResealMeetsOtherWriters(t *testing.T) {
	t.Parallel()
	w := shared(t)
	session := w.lead(t, "a")
	if _, err := w.PutRing(t.Context(), ring(t, 4), 0, session); err != nil {
		t.Fatal(err)
	}
	w.edit(t, put(many(t, 5, "many.test")...))
	proxy := testkit.FaultProxy(t, testkit.SharedConsul(t).Addr)
	var once sync.Once
	proxy.Set(testkit.Rule{Method: http.MethodPut, Path: "/v1/txn", Fault: func(rw http.ResponseWriter, r *http.Request, pass http.Handler) {
		if bytes.Contains(readBody(r), []byte(`"cas"`)) {
			once.Do(func() {
				if _, err := w.PutRing(t.Context(), ring(t, 5), w.index(t, "tickets/ring"), ""); err != nil {
					t.Error(err)
				}
			})
		}
		pass.ServeHTTP(rw, r)
	}})
	n := w.with(t, rotated(t, w.keyring), nil).at(t, proxy.Addr, "")
	done, err := n.Reseal(t.Context(), store.LeaderArea, session, nil)
	if err != nil || len(done.Bad) > 0 {
		t.Fatalf("Reseal() = %+v, %v", done, err)
	}
	after := w.with(t, n.keyring.Retire(), nil)
	if rec, err := after.Ring(t.Context()); err != nil || rec.Ring.Epoch != 5 {
		t.Errorf("Ring() = epoch %d, %v, want 5, which was written meanwhile", rec.Ring.Epoch, err)
	}
}

// TestResealLeavesWhatItCannotOpen: one such record stays as it is and holds up
// no other; a leader that was deposed writes nothing.
func TestResealLeavesWhatItCannotOpen(t *testing.T) {
	t.Parallel()
	w := shared(t)
	session := w.lead(t, "a")
	if _, err := w.PutRing(t.Context(), ring(t, 4), 0, session); err != nil {
		t.Fatal(err)
	}
	foreign, err := keyring(t).Seal(w.name, w.key("acme/answer"), 1, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	w.put(t, "acme/answer", foreign)
	w.put(t, "intake/odd", []byte("not sealed"))
	n := w.with(t, rotated(t, w.keyring), nil)
	before := w.raw(t, "tickets/ring")
	if _, err := n.Reseal(t.Context(), store.LeaderArea, "00000000-0000-0000-0000-000000000000", nil); !errors.Is(err, store.ErrFenced) {
		t.Errorf("Reseal() without the lock = %v, want %v", err, store.ErrFenced)
	}
	if !bytes.Equal(w.raw(t, "tickets/ring"), before) {
		t.Error("a deposed leader has sealed the ring anew")
	}
	done, err := n.Reseal(t.Context(), store.LeaderArea, session, nil)
	if err != nil || done.Changed != 1 || len(done.Bad) != 2 || done.Bad["acme/answer"] == nil || done.Bad["intake/odd"] == nil {
		t.Errorf("Reseal() = %+v, %v, want the ring alone sealed anew and two named", done, err)
	}
	if !bytes.Equal(w.raw(t, "acme/answer"), foreign) {
		t.Error("a record that cannot be opened was changed")
	}
}

func TestRotationAndSealState(t *testing.T) {
	t.Parallel()
	w := shared(t)
	session := w.lead(t, "a")
	if rec, err := w.Rotation(t.Context()); err != nil || rec.Index != 0 || rec.Rotation != (store.Rotation{}) {
		t.Errorf("Rotation() of a new fleet = %+v, %v, want none", rec, err)
	}
	want := store.Rotation{To: "a", Leaders: "b", Forced: "c", Ask: 3}
	put, err := w.PutRotation(t.Context(), want, 0)
	if err != nil {
		t.Fatal(err)
	}
	if rec, err := w.Rotation(t.Context()); err != nil || rec.Rotation != want || rec.Index != put.Index {
		t.Errorf("Rotation() = %+v, %v, want %+v", rec, err, want)
	}
	if _, err := w.PutRotation(t.Context(), store.Rotation{}, 0); !errors.Is(err, store.ErrConflict) {
		t.Errorf("PutRotation() over another one = %v, want %v", err, store.ErrConflict)
	}
	state := store.SealState{Key: "a", Leaders: "b", Ask: 3}
	if err := w.PutSealState(t.Context(), state, session); err != nil {
		t.Fatal(err)
	}
	if got, err := w.SealState(t.Context()); err != nil || got != state {
		t.Errorf("SealState() = %+v, %v, want %+v", got, err, state)
	}
	w.put(t, "keyring/state", w.raw(t, "keyring/rotation")) // sealed for another path
	if got, err := w.SealState(t.Context()); err != nil || got != (store.SealState{}) {
		t.Errorf("SealState() of a forged record = %+v, %v, want none", got, err)
	}
	if _, err := w.client.KV().Put(&api.KVPair{Key: w.key("keyring/rotation"), Value: []byte("x")}, nil); err != nil {
		t.Fatal(err)
	}
	if rec, err := w.Rotation(t.Context()); err != nil || rec.Index == 0 || rec.Rotation != (store.Rotation{}) {
		t.Errorf("Rotation() of a damaged record = %+v, %v, want its index alone", rec, err)
	}
}
