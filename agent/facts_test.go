package agent

import (
	"fmt"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/metrics"
	"github.com/tlsfleet/tlsfleet/handlers"
)

// knowing is a directory of names, each with its end; the zero time for one
// that is removed.
func knowing(names map[string]time.Time) *directory {
	d := &directory{}
	shards := map[int]inventory.Shard{}
	for name, end := range names {
		n := inventory.ShardOf(name)
		s := shards[n]
		s.Number = n
		e := fleet.Entry{Name: name, Bundle: fleet.Hash{1}, NotAfter: end}
		if end.IsZero() {
			e = fleet.Entry{Name: name, Removed: true}
		}
		s.Entries = append(s.Entries, e)
		shards[n] = s
	}
	for _, s := range shards {
		d.put(s)
	}
	return d
}

func TestExpiriesNameTheSoonest(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	ends := map[string]time.Time{"gone.test": {}}
	for i := range 100 {
		ends[fmt.Sprintf("n%d.test", i)] = now.Add(time.Duration(i-2) * 12 * time.Hour) // n0 to n2 have ended
	}
	d := knowing(ends)
	counts, soonest := d.expiries(now, 5)
	for within, want := range map[string]int{"0d": 3, "1d": 5, "7d": 17, "14d": 31, "30d": 63} {
		if counts[within] != want {
			t.Errorf("expiries() counts %d within %s, want %d", counts[within], within, want)
		}
	}
	if len(soonest) != 5 {
		t.Fatalf("expiries() names %d, want 5", len(soonest))
	}
	for i, e := range soonest {
		if name := fmt.Sprintf("n%d.test", i); e.Name != name || !e.NotAfter.Equal(ends[name]) {
			t.Errorf("expiries() has %s at %s in place %d, want %s at %s", e.Name, e.NotAfter, i, name, ends[name])
		}
	}
	d.put(inventory.Shard{Number: inventory.ShardOf("n0.test")})
	if counts, soonest = d.expiries(now, 5); counts["0d"] != 2 || soonest[0].Name == "n0.test" {
		t.Errorf("expiries() = %d ended, %s first, want n0.test forgotten with its shard", counts["0d"], soonest[0].Name)
	}
	if _, none := d.expiries(now, 0); len(none) != 0 {
		t.Errorf("expiries() of at most 0 names %d", len(none))
	}
}

func TestLeadingCountsWhatItIsTold(t *testing.T) {
	var l leading
	if got := l.get(); got != nil {
		t.Errorf("get() = %+v on a node that does not lead, want nil", got)
	}
	ring := fleet.Ring{Epoch: 4}
	l.looked(handlers.View{Ring: &ring, Nodes: []fleet.Node{
		{Name: "a", Healthy: true}, {Name: "b"}, {Name: "c", Healthy: true, Maintenance: true},
	}, Reports: []fleet.Report{{Node: "a", Mode: fleet.ModeRing, Seen: 4, Applied: 4, Proved: 4, Ring: ring.Digest()}}})
	l.moved("", issuance.Wanted)
	l.moved("", issuance.Wanted)
	l.moved(issuance.Wanted, issuance.Issued)
	l.moved(issuance.Issued, "")
	l.spent(metrics.Budget{CA: "le", Left: 2})
	got := l.get()
	if got == nil || got.Alive != 2 || got.Serving != 2 || got.Proved != 1 {
		t.Fatalf("get() = %+v, want 2 alive, 2 in service, 1 proved", got)
	}
	if got.Issuance["wanted"] != 1 || got.Issuance["issued"] != 0 || len(got.Budgets) != 1 {
		t.Errorf("get() = %+v, want 1 wanted, 0 issued and a budget", got)
	}
	l.ended()
	if got := l.get(); got != nil {
		t.Errorf("get() = %+v after the lead, want nil", got)
	}
	l.looked(handlers.View{})
	if got := l.get(); got == nil || len(got.Issuance) != 0 || len(got.Budgets) != 0 {
		t.Errorf("get() = %+v in the next term, want nothing of the last", got)
	}
}
