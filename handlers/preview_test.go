package handlers

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

func shardWith(epoch uint64, entries ...fleet.Entry) inventory.Shard {
	return inventory.Shard{Epoch: epoch, Entries: entries}
}

func entryOf(name string, bundle byte) fleet.Entry {
	return fleet.Entry{Name: name, Bundle: fleet.Hash{bundle}, Changed: time.Unix(int64(bundle), 0)}
}

func tombstone(name string) fleet.Entry {
	return fleet.Entry{Name: name, Removed: true, Changed: time.Unix(99, 0)}
}

func TestPreviewSaysWhatANodeDoes(t *testing.T) {
	held := map[string][]string{"a.test": {"/etc/nginx/a.conf:7"}}
	one := map[string]fleet.Hash{"a.test": {1}}
	tests := map[string]struct {
		serving       CertServing
		live          map[string]fleet.Hash
		before, after inventory.Shard
		want          string // "name effect reason", comma between names
		lost          int
	}{
		"nothing new":                    {CertServing{Static: true}, one, shardWith(1, entryOf("a.test", 1)), shardWith(1, entryOf("a.test", 1)), "", 0},
		"renewal":                        {CertServing{}, one, shardWith(1, entryOf("a.test", 1)), shardWith(2, entryOf("a.test", 2)), "a.test files handshake", 0},
		"renewal of a held one":          {CertServing{Held: held}, one, shardWith(1, entryOf("a.test", 1)), shardWith(2, entryOf("a.test", 2)), "a.test reload a.conf:7", 0},
		"renewal beside a held one":      {CertServing{Held: held}, map[string]fleet.Hash{"b.test": {1}}, shardWith(1, entryOf("b.test", 1)), shardWith(2, entryOf("b.test", 2)), "b.test files handshake", 0},
		"new, listed":                    {CertServing{Listed: true}, nil, shardWith(0), shardWith(2, entryOf("a.test", 2)), "a.test reload list", 0},
		"reload first":                   {CertServing{Listed: true}, one, shardWith(1, entryOf("a.test", 1)), shardWith(2, entryOf("a.test", 2), entryOf("b.test", 2)), "b.test reload list,a.test files handshake", 0},
		"on demand, new":                 {CertServing{OnDemand: true}, nil, shardWith(1), shardWith(2, entryOf("a.test", 2)), "a.test nothing asked for", 0},
		"on demand, never asked for":     {CertServing{OnDemand: true}, nil, shardWith(1, entryOf("a.test", 1)), shardWith(1, entryOf("a.test", 1)), "", 0},
		"on demand, renewed":             {CertServing{OnDemand: true}, one, shardWith(1, entryOf("a.test", 1)), shardWith(2, entryOf("a.test", 2)), "a.test files handshake", 0},
		"followed, not written":          {CertServing{}, nil, shardWith(1, entryOf("a.test", 1)), shardWith(1, entryOf("a.test", 1)), "a.test files handshake", 0},
		"written, not followed":          {CertServing{Static: true}, one, shardWith(0), shardWith(1, entryOf("a.test", 1)), "a.test nothing files are here", 0},
		"removed":                        {CertServing{}, one, shardWith(1, entryOf("a.test", 1)), shardWith(2, tombstone("a.test")), "a.test files handshake", 0},
		"removed, never here":            {CertServing{Static: true}, nil, shardWith(0), shardWith(2, tombstone("a.test")), "a.test nothing not served", 0},
		"removed, held":                  {CertServing{Held: held}, one, shardWith(1, entryOf("a.test", 1)), shardWith(2, tombstone("a.test")), "a.test reload a.conf:7", 0},
		"removed before, still held":     {CertServing{Held: held}, one, shardWith(1, tombstone("a.test")), shardWith(1, tombstone("a.test")), "a.test nothing stay", 0},
		"removed before, held no more":   {CertServing{}, one, shardWith(1, tombstone("a.test")), shardWith(1, tombstone("a.test")), "a.test files nothing names them", 0},
		"vanished without being removed": {CertServing{}, one, shardWith(1, entryOf("a.test", 1)), shardWith(2, entryOf("b.test", 2)), "", 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			changes, lost := CompareShard(tt.serving, tt.live, tt.before, tt.after)
			got := PreviewCerts(tt.serving, changes)
			var want []string
			if tt.want != "" {
				want = strings.Split(tt.want, ",")
			}
			if len(got) != len(want) || len(lost) != tt.lost {
				t.Fatalf("PreviewCerts() = %+v, lost %v, want %q and %d", got, lost, want, tt.lost)
			}
			for i, w := range want {
				f := strings.SplitN(w, " ", 3)
				if got[i].Name != f[0] || string(got[i].Effect) != f[1] || !strings.Contains(got[i].Reason, f[2]) {
					t.Errorf("PreviewCerts() at %d = %+v, want %q", i, got[i], w)
				}
			}
		})
	}
}

// TestPlanCertsIsTheSumOfPlanCert compares the reload for many names with what
// each of them asks for.
func TestPlanCertsIsTheSumOfPlanCert(t *testing.T) {
	names := rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a.test", "b.test", "*.w.test", "x.w.test", "c.test", "*.c.test"}), rapid.ID[string])
	rapid.Check(t, func(t *rapid.T) {
		s := CertServing{Static: rapid.Bool().Draw(t, "static"), Listed: rapid.Bool().Draw(t, "listed")}
		if rapid.Bool().Draw(t, "rendered") {
			s.Wild = map[string]bool{"w.test": rapid.Bool().Draw(t, "wild")}
		}
		if held := names.Draw(t, "held"); len(held) > 0 {
			s.Held = map[string][]string{held[0]: {"here:1"}}
		}
		c := CertChange{Added: names.Draw(t, "added"), Replaced: names.Draw(t, "replaced"), Dropped: names.Draw(t, "dropped")}
		want := false
		for _, name := range append(append([]string{}, c.Added...), c.Dropped...) {
			want = want || PlanCert(s, name, false).Reload
		}
		for _, name := range c.Replaced {
			want = want || PlanCert(s, name, true).Reload
		}
		if got := PlanCerts(s, c); got.Reload != want || got.Reason == "" {
			t.Errorf("PlanCerts(%+v, %+v) = %+v, want reload %t", s, c, got, want)
		}
	})
}
