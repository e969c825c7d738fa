package agent

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/status/web"
)

// shelved is a directory with names that end at times.
func shelved(tb testing.TB, ends map[string]time.Time, removed ...string) *directory {
	tb.Helper()
	shards := map[int]*inventory.Shard{}
	put := func(e fleet.Entry) {
		n := inventory.ShardOf(e.Name)
		if shards[n] == nil {
			shards[n] = &inventory.Shard{Number: n}
		}
		shards[n].Entries = append(shards[n].Entries, e)
	}
	for name, end := range ends {
		put(fleet.Entry{Name: name, Bundle: fleet.Hash{1}, NotAfter: end})
	}
	for _, name := range removed {
		put(fleet.Entry{Name: name, Removed: true})
	}
	d := &directory{}
	for _, s := range shards {
		slices.SortFunc(s.Entries, func(a, b fleet.Entry) int {
			if a.Name < b.Name {
				return -1
			}
			return 1
		})
		d.put(*s)
	}
	d.ready(true)
	return d
}

func TestNamesComeByPage(t *testing.T) {
	end := time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
	ends := map[string]time.Time{}
	for i := range 250 {
		ends[fmt.Sprintf("shop%03d.test", i)] = end
	}
	ends["*.shop.test"], ends["blog.shop001.test"] = end, end
	d := shelved(t, ends, "shop900.test")
	d.bar(map[string]fleet.Hash{"shop001.test": {1}, "shop002.test": {2}})
	tests := map[string]struct {
		q               web.NameQuery
		first, last     string
		found, matching int
		next            string
	}{
		"first page":      {web.NameQuery{Limit: 100}, "*.shop.test", "shop097.test", 100, 252, "shop097.test"},
		"next page":       {web.NameQuery{Limit: 100, After: "shop097.test"}, "shop098.test", "shop197.test", 100, 252, "shop197.test"},
		"last page":       {web.NameQuery{Limit: 100, After: "shop197.test"}, "shop198.test", "shop249.test", 52, 252, ""},
		"page that fits":  {web.NameQuery{Limit: 52, After: "shop197.test"}, "shop198.test", "shop249.test", 52, 252, ""},
		"part":            {web.NameQuery{Limit: 100, Match: "001"}, "blog.shop001.test", "shop001.test", 2, 2, ""},
		"beginning":       {web.NameQuery{Limit: 100, Match: "shop00", Prefix: true}, "shop000.test", "shop009.test", 10, 10, ""},
		"none":            {web.NameQuery{Limit: 100, Match: "<script>"}, "", "", 0, 0, ""},
		"removed":         {web.NameQuery{Limit: 100, Match: "shop900"}, "", "", 0, 0, ""},
		"behind the last": {web.NameQuery{Limit: 100, After: "zzz"}, "", "", 0, 252, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := d.page(tt.q)
			if len(p.Names) != tt.found || p.Matching != tt.matching || p.Total != 252 || p.Next != tt.next {
				t.Fatalf("page(%+v) = %d names of %d of %d, next %q, want %d of %d of 252, %q", tt.q, len(p.Names), p.Matching, p.Total, p.Next, tt.found, tt.matching, tt.next)
			}
			if tt.found > 0 && (p.Names[0].Name != tt.first || p.Names[tt.found-1].Name != tt.last) {
				t.Errorf("page(%+v) = %s to %s, want %s to %s", tt.q, p.Names[0].Name, p.Names[tt.found-1].Name, tt.first, tt.last)
			}
			for _, n := range p.Names {
				if n.Quarantined != (n.Name == "shop001.test") || !n.NotAfter.Equal(end) {
					t.Errorf("%s = %+v, want %s, only shop001.test in quarantine", n.Name, n, end)
				}
			}
		})
	}
}

func TestEndingsAreCountedByDay(t *testing.T) {
	now := time.Date(2027, 3, 1, 15, 30, 0, 0, time.UTC)
	d := shelved(t, map[string]time.Time{
		"a.test": now.Add(-time.Hour), "b.test": now.Add(-1000 * time.Hour), "c.test": now, // ended
		"d.test": now.Add(time.Hour), "e.test": now.Add(24 * time.Hour), "f.test": now.Add(25 * time.Hour), "g.test": now.Add(72 * time.Hour), "h.test": now.AddDate(40, 0, 0),
	}, "gone.test")
	got := d.endings(now, 24*time.Hour, 3)
	if got.Ended != 3 || !slices.Equal(got.Count, []int{1, 2, 0}) || got.Later != 2 || !got.Whole || got.Span != 86400 {
		t.Errorf("endings() = %+v, want 3 ended, [1 2 0], 2 later", got)
	}
	if want := time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC); !got.From.Equal(want) {
		t.Errorf("endings() from %s, want %s", got.From, want)
	}
}

func BenchmarkNamePage(b *testing.B) {
	ends := map[string]time.Time{}
	for i := range 100_000 {
		ends[fmt.Sprintf("www.customer%06d.example.test", i)] = time.Unix(1<<31, 0)
	}
	d := shelved(b, ends)
	for name, q := range map[string]web.NameQuery{
		"first":  {Limit: 50},
		"part":   {Limit: 50, Match: "77"},
		"none":   {Limit: 50, Match: "test.example"},
		"middle": {Limit: 500, After: "www.customer050000.example.test"},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				d.page(q)
			}
		})
	}
}
