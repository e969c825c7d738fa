package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// follows is a follower that touches neither files nor Consul.
func follows(t *testing.T) *certFollower {
	t.Helper()
	f := &certFollower{
		log: hclog.NewNullLogger(), problems: newProblems(func() {}), ledger: ledgerIn(t, t.TempDir()), view: &view{},
		proof: &certProver{wake: newWake(), told: newWake(), found: map[string]finding{}, later: map[string]time.Time{}},
		todo:  map[string]fleet.Hash{}, doubts: map[string]string{}, spared: map[string]fleet.Hash{}, lost: map[int][]string{},
	}
	f.served.reset(nil)
	return f
}

func someNames(n int) map[string]fleet.Hash {
	names := map[string]fleet.Hash{}
	for i := range n {
		names[fmt.Sprintf("n%d.test", i)] = bundleNo(2)
	}
	return names
}

// TestSampleOfManyNames changes more names at once than are looked at.
func TestSampleOfManyNames(t *testing.T) {
	f := follows(t)
	before := someNames(300)
	for name := range before {
		f.ledger.try(name, certTrial{Bundle: bundleNo(1)}, false)
	}
	f.try(t.Context(), someNames(300), before, certUse{rendered: true})
	if len(f.ledger.Trials) != sampled {
		t.Errorf("%d of 300 names on trial, want %d", len(f.ledger.Trials), sampled)
	}
	for name, trial := range f.ledger.Trials {
		if trial.Bundle != bundleNo(2) {
			t.Errorf("%s is on trial with %s, want the newest", name, trial.Bundle)
		}
	}
	if len(f.proof.trials) != sampled {
		t.Errorf("%d names given to be looked at, want %d", len(f.proof.trials), sampled)
	}
	f = follows(t)
	f.try(t.Context(), someNames(sampled), nil, certUse{rendered: true})
	if len(f.ledger.Trials) != sampled {
		t.Errorf("%d of %d names on trial, want all", len(f.ledger.Trials), sampled)
	}
	f.try(t.Context(), someNames(3), nil, certUse{})
	if got := f.ledger.Trials["n0.test"].At; len(f.ledger.Trials) != sampled || got.IsZero() {
		t.Errorf("%d names on trial after some that nginx does not serve, want as before", len(f.ledger.Trials))
	}
}

// TestSampleHasAllThatNginxLoads: one of these alone keeps nginx from starting.
func TestSampleHasAllThatNginxLoads(t *testing.T) {
	names := slices.Sorted(maps.Keys(someNames(1000)))
	held := map[string]bool{"n7.test": true, "n500.test": true, "n999.test": true, "elsewhere.test": true}
	chosen, left := sample(slices.Clone(names), held)
	if len(chosen) != sampled+3 || len(chosen)+len(left) != len(names) {
		t.Errorf("sample() = %d names and %d others, want %d of 1000", len(chosen), len(left), sampled+3)
	}
	for name := range held {
		if slices.Contains(left, name) {
			t.Errorf("sample() leaves %s out, which nginx loads", name)
		}
	}
	if other, _ := sample(slices.Clone(names), nil); slices.Equal(chosen[:100], other[:100]) {
		t.Error("sample() chose the same names twice, want other ones each time")
	}
}

// TestCondemnedAreBothThatANameMayHave: nginx refuses what a name went back to as
// well. Its inventory still wants the first, which is not tried again for that.
func TestCondemnedAreBothThatANameMayHave(t *testing.T) {
	const name = "a.test"
	f := follows(t)
	f.known.put(inventory.Shard{Number: inventory.ShardOf(name), Epoch: 1, Entries: []fleet.Entry{{Name: name, Bundle: bundleNo(2)}}})
	f.served.reset(map[string]fleet.Hash{name: bundleNo(1)})
	f.ledger.condemn(name, quarantined{Bundle: bundleNo(2), Back: bundleNo(1), Why: "small key"})
	f.refuse(renderer.Refusal{name: {Bundle: bundleNo(1), Why: "small key too"}})
	q := f.ledger.Quarantine[name]
	if q.Bundle != bundleNo(2) || !q.Back.IsZero() || !strings.Contains(q.Why, "small key too") {
		t.Errorf("quarantine = %+v, want the bundle that the inventory has, and nothing to go back to", q)
	}
	if want, todo := f.todo[name]; !todo || !want.IsZero() {
		t.Errorf("to be served is %s, to be done %t, want nothing to be served", want, todo)
	}
}

// TestNamesBeyondTheLedgerGoBack changes names that nginx loads when there is no
// room for their trials: one that it refuses goes back all the same.
func TestNamesBeyondTheLedgerGoBack(t *testing.T) {
	const name = "a.test"
	f := follows(t)
	g, state := guarding(t, nil)
	f.renderer = g.renderer
	makeFolder(t, state, "store", bundleNo(1).String())
	for i := range maxTrials {
		f.ledger.try(fmt.Sprintf("n%d.test", i), certTrial{Bundle: bundleNo(3)}, true)
	}
	f.known.put(inventory.Shard{Number: inventory.ShardOf(name), Epoch: 1, Entries: []fleet.Entry{{Name: name, Bundle: bundleNo(2)}}})
	f.served.reset(map[string]fleet.Hash{name: bundleNo(2)})
	untested, stop := context.WithCancel(t.Context())
	stop()
	f.try(untested, map[string]fleet.Hash{name: bundleNo(2)}, map[string]fleet.Hash{name: bundleNo(1)}, certUse{held: map[string]bool{name: true}})
	if !slices.Contains(f.ledger.spare(), bundleNo(1)) {
		t.Error("the bundle before is not spared, want it kept to go back to")
	}
	f.refuse(renderer.Refusal{name: {Bundle: bundleNo(2), Why: "small key"}})
	if want, todo := f.todo[name]; !todo || want != bundleNo(1) {
		t.Errorf("to be served is %s, to be done %t, want the one before, %s", want, todo, bundleNo(1))
	}
	f.ledger.end(name)
	if len(f.ledger.Trials) != maxTrials || len(f.ledger.more) != 0 {
		t.Errorf("%d trials and %d more, want %d and none", len(f.ledger.Trials), len(f.ledger.more), maxTrials)
	}
}

// TestNamesLost has names that vanish from a shard, come back, and are removed.
func TestNamesLost(t *testing.T) {
	f := follows(t)
	const name = "lost.test"
	n := inventory.ShardOf(name)
	shard := func(epoch uint64, entries ...fleet.Entry) inventory.Shard {
		return inventory.Shard{Number: n, Epoch: epoch, Entries: entries}
	}
	here, gone := fleet.Entry{Name: name, Bundle: bundleNo(1)}, fleet.Entry{Name: name, Removed: true}
	f.served.reset(map[string]fleet.Hash{name: bundleNo(1)})
	steps := []struct {
		what  string
		shard inventory.Shard
		lost  bool
		todo  bool
	}{
		{"listed", shard(1, here), false, false},
		{"not listed", shard(2), true, false},
		{"still not listed", shard(3), true, false},
		{"listed again", shard(4, here), false, false},
		{"not listed once more", shard(5), true, false},
		{"removed", shard(6, gone), false, true},
	}
	for _, s := range steps {
		f.take(s.shard)
		list := f.vanished()
		if got := len(list) == 1 && list[0].Code == "names-lost" && list[0].Severity == fleet.Alarm && strings.Contains(list[0].Message, name); got != s.lost {
			t.Errorf("%s: problems are %+v, want the name lost %t", s.what, list, s.lost)
		}
		if _, todo := f.todo[name]; todo != s.todo {
			t.Errorf("%s: to be done = %v, want %t", s.what, f.todo, s.todo)
		}
		want := s.shard.Epoch
		if s.lost {
			want-- // so that it is read again
		}
		if got := f.head.Shards[n]; got != want {
			t.Errorf("%s: the shard counts as read up to epoch %d, want %d", s.what, got, want)
		}
	}

	f = follows(t)
	f.served.reset(map[string]fleet.Hash{name: bundleNo(1), "unread.test": bundleNo(1)})
	f.known.put(shard(5))
	f.head.Shards[n] = 5
	f.missAll()
	if list := f.vanished(); len(list) != 1 || !strings.Contains(list[0].Message, "1 names") {
		t.Errorf("after a start problems are %+v, want one name lost: nothing is known of the other's shard", list)
	}
}

// TestANewTrialIsNotPutOff has a name renewed again before what was found out about
// the renewal before is known.
func TestANewTrialIsNotPutOff(t *testing.T) {
	p := &certProver{wake: newWake(), told: newWake(), found: map[string]finding{}, later: map[string]time.Time{}}
	p.set(map[string]certTrial{"a.test": {Bundle: bundleNo(1)}, "b.test": {Bundle: bundleNo(1)}})
	p.tell(map[string]finding{"a.test": {bundle: bundleNo(1)}, "b.test": {bundle: bundleNo(1)}})
	p.set(map[string]certTrial{"a.test": {Bundle: bundleNo(2)}, "b.test": {Bundle: bundleNo(1)}})
	if due := p.due(time.Now()); len(due) != 1 || due["a.test"].Bundle != bundleNo(2) {
		t.Errorf("due() = %v, want a.test with its new bundle, and b.test later", due)
	}
}

// TestATrialWaitsForTheReloadOfTheOneBefore and for no later one, if it needs none
// itself.
func TestATrialWaitsForTheReloadOfTheOneBefore(t *testing.T) {
	began := time.Now().Add(-time.Minute)
	f := follows(t)
	f.ledger.try("a.test", certTrial{Bundle: bundleNo(1), At: began, Reload: true}, false)
	f.try(t.Context(), map[string]fleet.Hash{"a.test": bundleNo(2)}, map[string]fleet.Hash{"a.test": bundleNo(1)}, certUse{rendered: true})
	if got := f.ledger.Trials["a.test"]; got.Bundle != bundleNo(2) || !got.Reload || !got.At.Equal(began) {
		t.Errorf("try() = %+v, want a trial that waits for a reload since %s", got, began)
	}
}
