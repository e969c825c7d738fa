package agent

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/site"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

func aSite(id string) site.Site {
	s := site.New(id)
	s.ServerNames, s.Backends.Service = []string{"www." + id + ".test"}, "web"
	return s
}

func (x copiedFleet) editSites(t *testing.T, e store.SiteEdit) {
	t.Helper()
	if _, err := x.store.EditSites(t.Context(), e); err != nil {
		t.Fatal(err)
	}
}

// sites is the sites in Consul, all of which have to be as the head says.
func (x copiedFleet) sites(t *testing.T) map[string]site.Site {
	t.Helper()
	head := x.siteHead(t)
	list, bad, err := x.store.Sites(t.Context(), head.Sites)
	if err != nil || len(bad) > 0 {
		t.Fatalf("Sites() = %v, %v", bad, err)
	}
	all := map[string]site.Site{}
	for _, r := range list {
		all[r.Site.ID] = r.Site
	}
	return all
}

func (x copiedFleet) siteHead(t *testing.T) site.Head {
	t.Helper()
	rec, err := x.store.SiteHead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return rec.Head
}

// put writes a record as somebody who has no keyring would.
func (x copiedFleet) put(t *testing.T, path string, value []byte) {
	t.Helper()
	if _, err := x.store.Client().KV().Put(&api.KVPair{Key: "tlsfleet/" + x.cfg.Fleet + "/" + path, Value: value}, nil); err != nil {
		t.Fatal(err)
	}
}

// TestSitesComeBackAboveWhatNodesFollow: every site, removed ones too, at an epoch
// that no node refuses.
func TestSitesComeBackAboveWhatNodesFollow(t *testing.T) {
	t.Parallel()
	x := newCopied(t)
	x.editSites(t, store.SiteEdit{Put: []site.Site{aSite("a"), aSite("b"), aSite("gone")}})
	x.editSites(t, store.SiteEdit{Remove: []string{"gone"}})
	file := x.backup(t, "")
	before := x.siteHead(t)
	x.wipe(t)
	c, err := x.ReadFile(t.Context(), bytes.NewReader(file), nil)
	if err != nil {
		t.Fatal(err)
	}
	done, err := c.Restore(t.Context(), "test", nil)
	if err != nil || done.Sites != 2 {
		t.Fatalf("Restore() = %+v, %v, want 2 sites", done, err)
	}
	after := x.siteHead(t)
	if lost := site.Regressed(before, after); len(lost) > 0 || after.Epoch < before.Epoch+1000 || len(site.Changed(before, after)) != 3 {
		t.Errorf("head = %+v, want all of %+v, far above", after, before)
	}
	if e, ok := after.Find("gone"); !ok || !e.Removed() {
		t.Errorf("entry of a removed site = %+v, %t, want its tombstone", e, ok)
	}
	if got := slices.Sorted(maps.Keys(x.sites(t))); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("sites = %q, want a and b", got)
	}
	if err := c.CheckVacant(t.Context()); !errors.Is(err, store.ErrNewer) {
		t.Errorf("CheckVacant() = %v, want %v", err, store.ErrNewer)
	}
	// What the copy has not is not removed, even by force.
	x.editSites(t, store.SiteEdit{Put: []site.Site{aSite("late")}})
	if _, err := c.Restore(t.Context(), "test", nil); err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(x.sites(t))); !slices.Equal(got, []string{"a", "b", "late"}) {
		t.Errorf("sites restored by force = %q, want late as well", got)
	}
}

// TestBadSiteHoldsUpNoCopy: a site that cannot be read stays as it was copied, and
// a copy of what is left of the sites does not take the place of all.
func TestBadSiteHoldsUpNoCopy(t *testing.T) {
	t.Parallel()
	x := newCopied(t)
	x.fill(t, "a.test")
	x.editSites(t, store.SiteEdit{Put: []site.Site{aSite("bad"), aSite("good")}})
	c := x.copier(t)
	pass := func(names, sites int) {
		t.Helper()
		if err := c.pass(t.Context(), time.Now()); err != nil {
			t.Fatalf("pass() = %v", err)
		}
		if info := infoOf(c.manifest); info.Names != names || info.Sites != sites {
			t.Errorf("the copy has %+v, want %d names and %d sites", info, names, sites)
		}
	}
	pass(1, 3)
	changed := aSite("bad")
	changed.WebSocket = true
	x.editSites(t, store.SiteEdit{Put: []site.Site{changed, aSite("new")}})
	rec, _, err := x.store.Sites(t.Context(), x.siteHead(t).Sites[1:2])
	if err != nil || len(rec) != 1 {
		t.Fatal(rec, err)
	}
	x.put(t, "sites/bad", []byte("spoiled"))
	x.fill(t, "b.test")
	pass(2, 4)
	x.put(t, "sites/bad", rec[0].Sealed)
	pass(2, 4)
	for _, spoil := range []func(){
		func() { x.put(t, "sites/head", []byte("spoiled")) },
		func() {
			if _, err := x.store.Client().KV().DeleteTree("tlsfleet/"+x.cfg.Fleet+"/sites/", nil); err != nil {
				t.Fatal(err)
			}
		},
		func() { x.editSites(t, store.SiteEdit{Put: []site.Site{aSite("anew")}}) },
	} {
		spoil()
		pass(2, 4)
	}
	x.wipe(t)
	back, err := x.ReadArchive(t.Context(), "disk", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := back.Restore(t.Context(), "test", nil); err != nil {
		t.Fatal(err)
	}
	if got := x.sites(t); len(got) != 4 || !got["bad"].WebSocket {
		t.Errorf("sites = %+v, want 4, bad as it was set last", got)
	}
}
