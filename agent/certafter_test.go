package agent

import (
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

// TestAftermathIsDoneOnceForSeveralChanges notes changes of one name, one after
// the other.
func TestAftermathIsDoneOnceForSeveralChanges(t *testing.T) {
	one, two, three := fleet.Hash{1}, fleet.Hash{2}, fleet.Hash{3}
	type step struct {
		to, before fleet.Hash // to zero: dropped
	}
	tests := map[string]struct {
		steps   []step
		kind    certChangeKind
		before  fleet.Hash
		flipped bool
	}{
		"added":                {[]step{{to: one}}, certAdded, fleet.Hash{}, true},
		"replaced":             {[]step{{two, one}}, certReplaced, one, true},
		"replaced twice":       {[]step{{two, one}, {three, two}}, certReplaced, one, true},
		"added, then replaced": {[]step{{to: one}, {two, one}}, certAdded, fleet.Hash{}, true},
		"dropped":              {[]step{{}}, certDropped, fleet.Hash{}, false},
		"replaced, dropped":    {[]step{{two, one}, {}}, certDropped, fleet.Hash{}, false},
		"dropped, back again":  {[]step{{}, {to: one}}, certAdded, fleet.Hash{}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var a aftermath
			for _, s := range test.steps {
				if s.to.IsZero() {
					a.note(nil, nil, []string{"a.test"}, false)
					continue
				}
				before := map[string]fleet.Hash{}
				if !s.before.IsZero() {
					before["a.test"] = s.before
				}
				a.note(map[string]fleet.Hash{"a.test": s.to}, before, nil, false)
			}
			_, flipped := a.flips["a.test"]
			if a.kinds["a.test"] != test.kind || a.before["a.test"] != test.before || flipped != test.flipped {
				t.Errorf("note() = kind %d, before %s, flipped %t, want %d, %s, %t",
					a.kinds["a.test"], a.before["a.test"], flipped, test.kind, test.before, test.flipped)
			}
			c := a.change()
			if n := len(c.Added) + len(c.Replaced) + len(c.Dropped); n != 1 {
				t.Errorf("change() = %+v, want one name", c)
			}
		})
	}
}

// TestAftermathIsNotPutOffByWhatFollows notes changes for longer than the quiet
// time, and one that nginx may load.
func TestAftermathIsNotPutOffByWhatFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a aftermath
		flips := map[string]fleet.Hash{"a.test": {1}}
		began := time.Now()
		for range 4 {
			a.note(flips, nil, nil, false)
			<-time.After(afterQuiet / 4)
		}
		if got := a.due.Sub(began); got != afterQuiet {
			t.Errorf("due after %s, want %s", got, afterQuiet)
		}
		var b aftermath
		b.note(flips, nil, nil, false)
		b.note(flips, nil, nil, true)
		if !b.due.Equal(time.Now()) {
			t.Errorf("due in %s for what nginx may load, want at once", time.Until(b.due))
		}
	})
}

// TestUnfinishedChangesAreFoundAtTheStart has shards that are newer than the
// copy of the head, as an agent leaves them that is killed after a flip.
func TestUnfinishedChangesAreFoundAtTheStart(t *testing.T) {
	entry := func(name string, hash byte) fleet.Entry { return fleet.Entry{Name: name, Bundle: fleet.Hash{hash}} }
	f := &certFollower{
		head: inventory.Head{Epoch: 5},
		ledger: &ledger{
			Trials:     map[string]certTrial{"tried.test": {Bundle: fleet.Hash{3}}},
			Quarantine: map[string]quarantined{"barred.test": {Bundle: fleet.Hash{5}}},
		},
	}
	f.head.Shards[1], f.head.Shards[2] = 5, 6
	f.known.put(inventory.Shard{Number: 1, Entries: []fleet.Entry{entry("old.test", 1)}})
	f.known.put(inventory.Shard{Number: 2, Entries: []fleet.Entry{entry("barred.test", 5), entry("new.test", 2), entry("tried.test", 3), entry("waits.test", 4)}})
	f.served.reset(map[string]fleet.Hash{"old.test": {1}, "new.test": {2}, "tried.test": {3}, "waits.test": {9}, "barred.test": {5}})
	if got := slices.Sorted(maps.Keys(f.unfinished())); !slices.Equal(got, []string{"new.test"}) {
		t.Errorf("unfinished() = %v, want new.test alone", got)
	}
}
