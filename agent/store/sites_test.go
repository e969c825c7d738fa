package store_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/site"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// aSite is a small site.
func aSite(id string) site.Site {
	s := site.New(id)
	s.ServerNames, s.Backends.Service = []string{id + ".test"}, "web"
	return s
}

func (w world) editSites(tb testing.TB, e store.SiteEdit) store.SitesEdited {
	tb.Helper()
	done, err := w.EditSites(tb.Context(), e)
	if err != nil {
		tb.Fatalf("EditSites() = %+v, %v", done, err)
	}
	return done
}

// sites are the IDs of all sites that can be read, and why others cannot.
func (w world) sites(tb testing.TB) (ids []string, bad map[string]error) {
	tb.Helper()
	head, err := w.SiteHead(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	list, bad, err := w.Sites(tb.Context(), head.Head.Sites)
	if err != nil {
		tb.Fatal(err)
	}
	for _, rec := range list {
		ids = append(ids, rec.Site.ID)
	}
	return ids, bad
}

func TestEditSites(t *testing.T) {
	t.Parallel()
	w := shared(t)
	if _, err := w.SiteHead(t.Context()); !errors.Is(err, store.ErrMissing) {
		t.Errorf("SiteHead() of a new fleet = %v, want %v", err, store.ErrMissing)
	}
	if got := w.editSites(t, store.SiteEdit{Remove: []string{"a"}}); !reflect.DeepEqual(got, store.SitesEdited{Missing: []string{"a"}}) {
		t.Errorf("EditSites(remove what is not there) = %+v", got)
	}
	got := w.editSites(t, store.SiteEdit{Put: []site.Site{aSite("b"), aSite("a")}})
	if want := (store.SitesEdited{Epoch: 1, Added: []string{"b", "a"}}); !reflect.DeepEqual(got, want) {
		t.Errorf("EditSites() = %+v, want %+v", got, want)
	}
	index := w.index(t, "sites/head")
	if got := w.editSites(t, store.SiteEdit{Put: []site.Site{aSite("a")}}); !slices.Equal(got.Unchanged, []string{"a"}) || w.index(t, "sites/head") != index {
		t.Errorf("EditSites(the same) = %+v, want nothing written", got)
	}
	changed := aSite("a")
	changed.HTTP2 = false
	got = w.editSites(t, store.SiteEdit{Put: []site.Site{changed, aSite("c")}, Remove: []string{"b"}})
	if want := (store.SitesEdited{Epoch: 2, Added: []string{"c"}, Changed: []string{"a"}, Removed: []string{"b"}}); !reflect.DeepEqual(got, want) {
		t.Errorf("EditSites() = %+v, want %+v", got, want)
	}
	if ids, bad := w.sites(t); !slices.Equal(ids, []string{"a", "c"}) || len(bad) > 0 {
		t.Errorf("Sites() = %v, %v, want a and c", ids, bad)
	}
	if w.index(t, "sites/b") != 0 {
		t.Error("the record of b is still there")
	}
	head, err := w.SiteHead(t.Context())
	if e, ok := head.Head.Find("b"); err != nil || !ok || !e.Removed() {
		t.Errorf("Find(b) = %+v, %t, %v, want a tombstone", e, ok, err)
	}
	if _, err := w.EditSites(t.Context(), store.SiteEdit{Put: []site.Site{aSite("a")}, Remove: []string{"a"}}); err == nil {
		t.Error("EditSites(put and remove) = nil, want an error")
	}
}

// TestEditSitesAgain: a site that is there just so gets a new epoch if it is to.
func TestEditSitesAgain(t *testing.T) {
	t.Parallel()
	w := shared(t)
	w.editSites(t, store.SiteEdit{Put: []site.Site{aSite("a"), aSite("b")}})
	got := w.editSites(t, store.SiteEdit{Put: []site.Site{aSite("a"), aSite("b"), aSite("c")}, Again: []string{"b", "c"}})
	if want := (store.SitesEdited{Epoch: 2, Added: []string{"c"}, Unchanged: []string{"a"}, Again: []string{"b"}}); !reflect.DeepEqual(got, want) {
		t.Errorf("EditSites() = %+v, want %+v", got, want)
	}
	head, err := w.SiteHead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]uint64{"a": 1, "b": 2, "c": 2} {
		if e, _ := head.Head.Find(id); e.Epoch != want {
			t.Errorf("%s is set at epoch %d, want %d", id, e.Epoch, want)
		}
	}
	if ids, bad := w.sites(t); !slices.Equal(ids, []string{"a", "b", "c"}) || len(bad) > 0 {
		t.Errorf("Sites() = %v, %v, want all", ids, bad)
	}
}

// TestEditSitesInParts: more than one transaction holds, by count and by bytes.
func TestEditSitesInParts(t *testing.T) {
	t.Parallel()
	w := shared(t)
	var put []site.Site
	for i := range 300 {
		put = append(put, aSite(fmt.Sprintf("s%03d", i)))
	}
	for i := range 20 {
		put[i].Backends = site.Backends{Method: site.RoundRobin}
		for n := range site.MaxAddresses {
			put[i].Backends.Addresses = append(put[i].Backends.Addresses, site.Backend{Address: fmt.Sprintf("unix:/run/%080d.sock", n), Weight: 1})
		}
	}
	asked := 0
	got := w.editSites(t, store.SiteEdit{Put: put, Check: func(after []site.Site) error {
		asked++
		if len(after) != len(put) {
			t.Errorf("Check() is asked about %d sites, want %d", len(after), len(put))
		}
		return nil
	}})
	if len(got.Added) != len(put) || got.Epoch < 3 || uint64(asked) < got.Epoch {
		t.Errorf("EditSites() = %d at epoch %d, asked %d times, want %d in several parts", len(got.Added), got.Epoch, asked, len(put))
	}
	if ids, bad := w.sites(t); len(ids) != len(put) || len(bad) > 0 {
		t.Errorf("Sites() = %d, %v, want %d", len(ids), bad, len(put))
	}
	refused := errors.New("no")
	if _, err := w.EditSites(t.Context(), store.SiteEdit{Put: []site.Site{aSite("x")}, Check: func([]site.Site) error { return refused }}); !errors.Is(err, refused) {
		t.Errorf("EditSites() = %v, want %v", err, refused)
	}
	if w.index(t, "sites/x") != 0 {
		t.Error("a site that was refused is written")
	}
}

// TestEditSitesAtOnce: of many writers none loses anything.
func TestEditSitesAtOnce(t *testing.T) {
	t.Parallel()
	w := shared(t)
	const writers = 6
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			if _, err := w.EditSites(t.Context(), store.SiteEdit{Put: []site.Site{aSite(fmt.Sprintf("s%d", i))}}); err != nil {
				t.Errorf("EditSites() = %v", err)
			}
		})
	}
	all.Wait()
	head, err := w.SiteHead(t.Context())
	if err != nil || head.Head.Epoch != writers || len(head.Head.Live()) != writers {
		t.Errorf("SiteHead() = %+v, %v, want %d sites at epoch %d", head.Head, err, writers, writers)
	}
}

// TestSpoiledSitesAreRefused: each is named, and the others are read.
func TestSpoiledSitesAreRefused(t *testing.T) {
	t.Parallel()
	w := shared(t)
	var put []site.Site
	for _, id := range []string{"cut", "foreign", "good", "large", "missing", "newer", "old", "other", "schema"} {
		put = append(put, aSite(id))
	}
	w.editSites(t, store.SiteEdit{Put: put})
	old := w.value(t, "sites/old")
	second := aSite("old")
	second.WebSocket = true
	w.editSites(t, store.SiteEdit{Put: []site.Site{second}})

	seal := func(id string, epoch uint64, plain []byte) []byte {
		sealed, err := w.keyring.Seal(w.name, w.key("sites/"+id), epoch, plain)
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	encode := func(s site.Site, epoch uint64) []byte {
		b, err := site.Encode(s, epoch)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := w.value(t, "sites/good")
	w.put(t, "sites/cut", good[:len(good)/2])
	w.put(t, "sites/foreign", good) // sealed for another path
	w.put(t, "sites/large", make([]byte, 512<<10))
	if _, err := w.client.KV().Delete(w.key("sites/missing"), nil); err != nil {
		t.Fatal(err)
	}
	w.put(t, "sites/newer", seal("newer", 9, encode(aSite("newer"), 9)))
	w.put(t, "sites/old", old)
	w.put(t, "sites/other", seal("other", 1, encode(aSite("good"), 1)))
	w.put(t, "sites/schema", seal("schema", 1, []byte(`{"schema":2,"epoch":1}`)))

	ids, bad := w.sites(t)
	if !slices.Equal(ids, []string{"good", "newer"}) {
		t.Errorf("Sites() = %v, want good and newer", ids)
	}
	for id, want := range map[string]error{
		"cut": store.ErrRecord, "foreign": store.ErrRecord, "large": store.ErrRecord, "missing": store.ErrMissing,
		"old": store.ErrRecord, "other": store.ErrRecord, "schema": site.ErrSchema,
	} {
		if !errors.Is(bad[id], want) {
			t.Errorf("Sites() refuses %s: %v, want %v", id, bad[id], want)
		}
	}
	// Setting them again repairs them.
	if got := w.editSites(t, store.SiteEdit{Put: []site.Site{aSite("cut"), aSite("missing")}}); len(got.Changed) != 2 {
		t.Errorf("EditSites() = %+v, want two changed", got)
	}
	if _, bad := w.sites(t); bad["cut"] != nil || bad["missing"] != nil {
		t.Errorf("Sites() = %v, want cut and missing repaired", bad)
	}
}

func (w world) value(tb testing.TB, path string) []byte {
	tb.Helper()
	pair, _, err := w.client.KV().Get(w.key(path), nil)
	if err != nil || pair == nil {
		tb.Fatalf("read %s: %v, %v", path, pair, err)
	}
	return pair.Value
}

// TestLostHeadOfSitesIsNotBegunAnew: a head that cannot be seen would be replaced
// by one that knows nothing of the others.
func TestLostHeadOfSitesIsNotBegunAnew(t *testing.T) {
	t.Parallel()
	w := shared(t)
	w.editSites(t, store.SiteEdit{Put: []site.Site{aSite("a")}})
	if _, err := w.client.KV().Delete(w.key("sites/head"), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.EditSites(t.Context(), store.SiteEdit{Put: []site.Site{aSite("b")}}); !errors.Is(err, store.ErrMissing) {
		t.Errorf("EditSites() = %v, want %v", err, store.ErrMissing)
	}
	w.put(t, "sites/head", []byte("spoiled"))
	if _, err := w.EditSites(t.Context(), store.SiteEdit{Put: []site.Site{aSite("b")}}); !errors.Is(err, store.ErrRecord) {
		t.Errorf("EditSites() = %v, want %v", err, store.ErrRecord)
	}
}

func TestWatchSiteHead(t *testing.T) {
	t.Parallel()
	w := shared(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := make(chan store.SiteHeadRecord, 100)
	var watching sync.WaitGroup
	watching.Go(func() {
		if err := w.WatchSiteHead(ctx, func(rec store.SiteHeadRecord, _ error) { seen <- rec }); err != nil {
			t.Errorf("WatchSiteHead() = %v", err)
		}
	})
	for epoch := uint64(1); epoch < 4; epoch++ {
		w.editSites(t, store.SiteEdit{Put: []site.Site{aSite(fmt.Sprintf("s%d", epoch))}})
		testkit.Eventually(t, soon, "the new head", func() error {
			if rec := <-seen; rec.Head.Epoch != epoch {
				return fmt.Errorf("epoch %d, want %d", rec.Head.Epoch, epoch)
			}
			return nil
		})
	}
	cancel()
	watching.Wait()
}

// TestSitesOfANarrowToken: what is hidden is not removed.
func TestSitesOfANarrowToken(t *testing.T) {
	t.Parallel()
	server := testkit.Consul(t, testkit.ConsulDev(), testkit.ConsulACL())
	w := newWorld(t, server.Addr, server.Token)
	w.editSites(t, store.SiteEdit{Put: []site.Site{aSite("a"), aSite("b")}})
	rules := store.RulesHCL([]store.Right{
		{Resource: "key", Segment: w.key("sites/head"), Policy: "read"}, {Resource: "key", Segment: w.key("sites/a"), Policy: "read"},
	})
	narrow := w.at(t, server.Addr, token(t, server, rules))
	ids, bad := narrow.sites(t)
	if !slices.Equal(ids, []string{"a"}) || !errors.Is(bad["b"], store.ErrDenied) {
		t.Errorf("Sites() = %v, %v, want a, and b denied", ids, bad)
	}
	if _, err := narrow.EditSites(t.Context(), store.SiteEdit{Put: []site.Site{aSite("c")}}); !errors.Is(err, store.ErrDenied) {
		t.Errorf("EditSites() = %v, want %v", err, store.ErrDenied)
	}
	if e, ok := mustHead(t, narrow).Find("b"); !ok || e.Removed() {
		t.Error("what is hidden became a tombstone")
	}
}

func mustHead(t *testing.T, w world) site.Head {
	t.Helper()
	rec, err := w.SiteHead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return rec.Head
}
