package agent

import (
	"slices"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/site"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

func TestWithoutClashes(t *testing.T) {
	at := func(epoch uint64, id string, names ...string) store.SiteRecord {
		s := site.New(id)
		s.ServerNames = names
		return store.SiteRecord{Site: s, Epoch: epoch}
	}
	modern := at(1, "modern", "m.test")
	modern.Site.TLS.Policy, modern.Site.Listen = site.Modern, []string{"*:443"}
	tests := map[string]struct {
		sites []store.SiteRecord
		out   []string
	}{
		"none":                {[]store.SiteRecord{at(1, "a", "a.test"), at(1, "b", "b.test")}, nil},
		"the later":           {[]store.SiteRecord{at(1, "a", "a.test"), at(2, "b", "a.test")}, []string{"b"}},
		"the later, first":    {[]store.SiteRecord{at(2, "a", "a.test"), at(1, "b", "a.test")}, []string{"a"}},
		"of one epoch":        {[]store.SiteRecord{at(1, "a", "a.test"), at(1, "b", "a.test")}, []string{"b"}},
		"with one left out":   {[]store.SiteRecord{at(1, "a", "a.test"), at(2, "b", "a.test", "b.test"), at(3, "c", "b.test")}, []string{"b"}},
		"with the node":       {[]store.SiteRecord{modern, at(2, "b", "b.test")}, []string{"modern"}},
		"lost to a loser":     {[]store.SiteRecord{at(2, "a", "c.test", "b.test"), at(3, "b", "b.test"), at(1, "c", "c.test")}, []string{"a"}},
		"freed by a left out": {[]store.SiteRecord{at(1, "c", "c.test", "x.test"), at(3, "a", "c.test", "b.test"), at(2, "b", "b.test")}, []string{"a"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			sites := map[string]store.SiteRecord{}
			for _, r := range tt.sites {
				sites[r.Site.ID] = r
			}
			list, out := withoutClashes(sites, site.DefaultSockets())
			for _, id := range tt.out {
				if out[id] == "" || slices.ContainsFunc(list, func(s site.Site) bool { return s.ID == id }) {
					t.Errorf("withoutClashes() keeps %s, want it left out: %v", id, out)
				}
			}
			if len(out) != len(tt.out) || len(list) != len(tt.sites)-len(tt.out) {
				t.Errorf("withoutClashes() = %d sites without %v, want %d without %v", len(list), out, len(tt.sites)-len(tt.out), tt.out)
			}
		})
	}
}
