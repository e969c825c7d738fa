package store_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/site"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/handlers"
)

func aWave(epoch, base uint64) handlers.Wave {
	return handlers.Wave{Epoch: epoch, Base: base, State: handlers.WaveCanary, Canaries: []string{"a"}, Since: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)}
}

// TestPutWave: the wave is written by the leader only, once, and by who has read
// the one before.
func TestPutWave(t *testing.T) {
	t.Parallel()
	w := shared(t)
	if _, err := w.Wave(t.Context()); !errors.Is(err, store.ErrMissing) {
		t.Errorf("Wave() of a new fleet = %v, want %v", err, store.ErrMissing)
	}
	if _, err := w.PutWave(t.Context(), aWave(1, 0), store.WaveRecord{}, "8a7b2a3c-0000-0000-0000-000000000000"); !errors.Is(err, store.ErrFenced) {
		t.Errorf("PutWave() of no leader = %v, want %v", err, store.ErrFenced)
	}
	session := w.lead(t, "leader")
	first, err := w.PutWave(t.Context(), aWave(1, 0), store.WaveRecord{}, session)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.PutWave(t.Context(), aWave(2, 0), store.WaveRecord{}, session); !errors.Is(err, store.ErrConflict) {
		t.Errorf("PutWave() over one that was not read = %v, want %v", err, store.ErrConflict)
	}
	last := first
	last.Serial += 1 << 30 // of a leader whose clock was ahead
	second, err := w.PutWave(t.Context(), aWave(2, 1), last, session)
	if err != nil || second.Serial <= last.Serial {
		t.Errorf("PutWave() = serial %d, %v, want more than %d", second.Serial, err, last.Serial)
	}
	got, err := w.Wave(t.Context())
	if err != nil || !reflect.DeepEqual(got, second) || !reflect.DeepEqual(got.Wave, aWave(2, 1)) {
		t.Errorf("Wave() = %+v, %v, want %+v", got, err, second)
	}
	if _, err := w.PutWave(t.Context(), aWave(2, 3), got, session); err == nil {
		t.Error("PutWave(wave that is none) = nil, want an error")
	}
}

// TestWaveOfOthersIsRefused: a record that was not made for this key, or not as
// it is written.
func TestWaveOfOthersIsRefused(t *testing.T) {
	t.Parallel()
	w := shared(t)
	session := w.lead(t, "leader")
	rec, err := w.PutWave(t.Context(), aWave(1, 0), store.WaveRecord{}, session)
	if err != nil {
		t.Fatal(err)
	}
	w.editSites(t, store.SiteEdit{Put: []site.Site{aSite("a")}})
	head, err := w.SiteHead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, sealed := range map[string][]byte{
		"nothing": nil, "cut": rec.Sealed[:len(rec.Sealed)-1], "another record": head.Sealed, "text": []byte(`{"schema":1}`),
	} {
		if _, err := w.OpenWave(sealed); !errors.Is(err, store.ErrRecord) {
			t.Errorf("OpenWave(%s) = %v, want %v", name, err, store.ErrRecord)
		}
	}
}

// pinned are the epochs of the sites that are pinned for an epoch.
func (w world) pinned(t *testing.T, epoch uint64) map[string]uint64 {
	t.Helper()
	head, err := w.PinnedHead(t.Context(), epoch)
	if err != nil {
		t.Fatal(err)
	}
	list, bad, err := w.PinnedSites(t.Context(), head.Head.Sites)
	if err != nil || len(bad) > 0 {
		t.Fatalf("PinnedSites() = %v, %v", bad, err)
	}
	got := map[string]uint64{}
	for _, r := range list {
		got[r.Site.ID] = r.Epoch
	}
	return got
}

// TestPinSites: an epoch stays readable as it was, whatever operators write, until
// it is unpinned.
func TestPinSites(t *testing.T) {
	t.Parallel()
	w := shared(t)
	session := w.lead(t, "leader")
	pin := func(base site.Head) (site.Head, map[string]error, error) {
		head, err := w.SiteHead(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		bad, err := w.PinSites(t.Context(), head.Head, base, nil, session)
		return head.Head, bad, err
	}
	w.editSites(t, store.SiteEdit{Put: []site.Site{aSite("a"), aSite("b"), aSite("c")}})
	first, bad, err := pin(site.Head{})
	if err != nil || len(bad) > 0 {
		t.Fatalf("PinSites() = %v, %v", bad, err)
	}
	changed := aSite("a")
	changed.HTTP2 = false
	w.editSites(t, store.SiteEdit{Put: []site.Site{changed}, Remove: []string{"b"}})
	if _, bad, err = pin(first); err != nil || len(bad) > 0 {
		t.Fatalf("PinSites() = %v, %v", bad, err)
	}
	if _, err := w.PinSites(t.Context(), first, site.Head{}, nil, session); !errors.Is(err, store.ErrConflict) {
		t.Errorf("PinSites() of sites that have changed = %v, want %v", err, store.ErrConflict)
	}
	want1, want2 := map[string]uint64{"a": 1, "b": 1, "c": 1}, map[string]uint64{"a": 2, "c": 1}
	if got := [2]map[string]uint64{w.pinned(t, 1), w.pinned(t, 2)}; !reflect.DeepEqual(got, [2]map[string]uint64{want1, want2}) {
		t.Errorf("pinned = %v, want %v and %v", got, want1, want2)
	}
	if gone, err := w.UnpinSites(t.Context(), []uint64{1, 2}, session); gone != 0 || err != nil {
		t.Errorf("UnpinSites(nothing) = %d, %v, want 0", gone, err)
	}
	if gone, err := w.UnpinSites(t.Context(), []uint64{2}, session); gone != 3 || err != nil {
		t.Errorf("UnpinSites() = %d, %v, want the head, a and b of epoch 1", gone, err)
	}
	if _, err := w.PinnedHead(t.Context(), 1); !errors.Is(err, store.ErrMissing) {
		t.Errorf("PinnedHead() = %v, want %v", err, store.ErrMissing)
	}
	if got := w.pinned(t, 2); !reflect.DeepEqual(got, want2) {
		t.Errorf("pinned = %v, want %v", got, want2)
	}
	if _, err := w.PinSites(t.Context(), first, site.Head{}, nil, "8a7b2a3c-0000-0000-0000-000000000000"); err == nil {
		t.Error("PinSites() of no leader = nil, want an error")
	}
}

// TestPinSitesWithoutBadOnes: a site whose record was damaged stays as it was
// pinned before, or is left out; another epoch of the same is no way around it.
func TestPinSitesWithoutBadOnes(t *testing.T) {
	t.Parallel()
	w := shared(t)
	session := w.lead(t, "leader")
	w.editSites(t, store.SiteEdit{Put: []site.Site{aSite("a"), aSite("b")}})
	first, err := w.SiteHead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.PinSites(t.Context(), first.Head, site.Head{}, nil, session); err != nil {
		t.Fatal(err)
	}
	changed := aSite("a")
	changed.HTTP2 = false
	w.editSites(t, store.SiteEdit{Put: []site.Site{changed, aSite("new"), aSite("ok")}})
	for _, id := range []string{"a", "new"} {
		w.put(t, "sites/"+id, []byte("; } http {"))
	}
	head, err := w.SiteHead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bad, err := w.PinSites(t.Context(), head.Head, first.Head, nil, session)
	if err != nil || !errors.Is(bad["a"], store.ErrRecord) || !errors.Is(bad["new"], store.ErrRecord) || len(bad) != 2 {
		t.Errorf("PinSites() = %v, %v, want a and new refused", bad, err)
	}
	if got, want := w.pinned(t, 2), map[string]uint64{"a": 1, "b": 1, "ok": 2}; !reflect.DeepEqual(got, want) {
		t.Errorf("pinned = %v, want %v", got, want)
	}
	w.put(t, "waves/sites/a/1", w.raw(t, "waves/sites/b/1"))
	pinned, err := w.PinnedHead(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	if _, bad, err := w.PinnedSites(t.Context(), pinned.Head.Sites); err != nil || !errors.Is(bad["a"], store.ErrRecord) || len(bad) != 1 {
		t.Errorf("PinnedSites() = %v, %v, want a refused for being b", bad, err)
	}
}

// TestAgainSites: another epoch of the same sites, at once or not.
func TestAgainSites(t *testing.T) {
	t.Parallel()
	w := shared(t)
	if _, err := w.AgainSites(t.Context(), false); !errors.Is(err, store.ErrMissing) {
		t.Errorf("AgainSites() without sites = %v, want %v", err, store.ErrMissing)
	}
	w.editSites(t, store.SiteEdit{Put: []site.Site{aSite("a")}, Now: true})
	var got [][2]uint64
	note := func() {
		head, err := w.SiteHead(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, [2]uint64{head.Head.Epoch, head.Head.Now})
	}
	note()
	for _, now := range []bool{false, true} {
		if _, err := w.AgainSites(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		note()
	}
	if want := [][2]uint64{{1, 1}, {2, 1}, {3, 3}}; !slices.Equal(got, want) {
		t.Errorf("epochs and those wanted at once = %v, want %v", got, want)
	}
	if ids, bad := w.sites(t); fmt.Sprint(ids) != "[a]" || len(bad) > 0 {
		t.Errorf("Sites() = %v, %v, want a", ids, bad)
	}
}
