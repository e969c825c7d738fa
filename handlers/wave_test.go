package handlers_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/handlers"
)

var (
	waveStart = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	waveRules = handlers.WaveRules{Canaries: fleet.Share{Nodes: 1}, Deadline: time.Minute}
)

// nodesOf are healthy nodes in service with these names.
func nodesOf(names ...string) []fleet.Node {
	var nodes []fleet.Node
	for _, n := range names {
		nodes = append(nodes, fleet.Node{Name: n, Healthy: true})
	}
	return nodes
}

func TestNextWave(t *testing.T) {
	abc := nodesOf("a", "b", "c")
	canary := &handlers.Wave{Epoch: 7, Base: 6, State: handlers.WaveCanary, Canaries: []string{"a"}, Since: waveStart}
	failed := &handlers.Wave{Epoch: 6, Base: 4, State: handlers.WaveHalted, Reason: "x", Out: map[string]uint64{"bad": 6, "mended": 5, "removed": 5}}
	drained := nodesOf("a", "b")
	drained[0].Maintenance = true
	tests := map[string]struct {
		view  handlers.WaveView
		after time.Duration
		want  handlers.Wave // Canaries "?": any one that is not spent
	}{
		"first sites": {handlers.WaveView{Head: 3, Nodes: abc}, 0,
			handlers.Wave{Epoch: 3, State: handlers.WaveCanary, Canaries: []string{"?"}}},
		"first record of what is served": {handlers.WaveView{Head: 3, Nodes: abc, Reports: []handlers.SitesReport{{Node: "b", Epoch: 3}}}, 0,
			handlers.Wave{Epoch: 3, State: handlers.WaveRolled}},
		"record lost in the middle": {handlers.WaveView{Head: 7, Nodes: nodesOf("b", "c"), Reports: []handlers.SitesReport{{Node: "a", Epoch: 7}, {Node: "b", Epoch: 6}}}, 0,
			handlers.Wave{Epoch: 7, State: handlers.WaveCanary, Canaries: []string{"?"}}},
		"record lost after a halt": {handlers.WaveView{Head: 7, Nodes: nodesOf("b", "c"), Reports: []handlers.SitesReport{{Node: "a", Epoch: 7, Failed: "404"}}}, 0,
			handlers.Wave{Epoch: 7, State: handlers.WaveCanary, Canaries: []string{"?"}}},
		"newer sites": {handlers.WaveView{Last: &handlers.Wave{Epoch: 6, Base: 5, State: handlers.WaveRolled}, Head: 7, Nodes: abc}, 0,
			handlers.Wave{Epoch: 7, Base: 6, State: handlers.WaveCanary, Canaries: []string{"?"}}},
		"newer sites after a halt": {handlers.WaveView{Last: &handlers.Wave{Epoch: 6, Base: 4, State: handlers.WaveHalted, Reason: "x"}, Head: 7, Nodes: abc}, 0,
			handlers.Wave{Epoch: 7, Base: 4, State: handlers.WaveCanary, Canaries: []string{"?"}}},
		"newer sites in the middle": {handlers.WaveView{Last: canary, Head: 8, Nodes: abc}, 0,
			handlers.Wave{Epoch: 8, Base: 6, State: handlers.WaveCanary, Canaries: []string{"?"}}},
		"older sites": {handlers.WaveView{Last: canary, Head: 5, Nodes: abc}, 0, *canary},
		"canary has not applied": {handlers.WaveView{Last: canary, Head: 7, Nodes: abc,
			Reports: []handlers.SitesReport{{Node: "a", Epoch: 6, Proved: true}, {Node: "b", Epoch: 7, Proved: true}}}, time.Second, *canary},
		"canary has applied": {handlers.WaveView{Last: canary, Head: 7, Nodes: abc, Reports: []handlers.SitesReport{{Node: "a", Epoch: 7}}}, time.Second,
			handlers.Wave{Epoch: 7, Base: 6, State: handlers.WaveProving, Canaries: []string{"a"}}},
		"canary has proved": {handlers.WaveView{Last: canary, Head: 7, Nodes: abc, Reports: []handlers.SitesReport{{Node: "a", Epoch: 7, Proved: true}}}, time.Second,
			handlers.Wave{Epoch: 7, Base: 6, State: handlers.WaveRolled, Canaries: []string{"a"}}},
		"canary has failed": {handlers.WaveView{Last: canary, Head: 7, Nodes: abc, Reports: []handlers.SitesReport{{Node: "a", Epoch: 7, Failed: "404"}}}, time.Second,
			handlers.Wave{Epoch: 7, Base: 6, State: handlers.WaveHalted, Canaries: []string{"a"}, Reason: "a: 404"}},
		"canary has failed for some sites": {handlers.WaveView{Last: &handlers.Wave{Epoch: 7, Base: 6, State: handlers.WaveProving, Canaries: []string{"a"}, Since: waveStart, Out: map[string]uint64{"out": 5}},
			Head: 7, Set: map[string]uint64{"bad": 7, "fine": 7, "out": 5}, Nodes: abc, Reports: []handlers.SitesReport{{Node: "a", Epoch: 7, Failed: "404", Bad: []string{"bad", "unknown"}}}}, time.Second,
			handlers.Wave{Epoch: 7, Base: 6, State: handlers.WaveHalted, Canaries: []string{"a"}, Reason: "a: 404", Out: map[string]uint64{"bad": 7, "out": 5}}},
		"newer sites without those that failed": {handlers.WaveView{Last: failed, Head: 7, Set: map[string]uint64{"bad": 6, "mended": 7, "removed": 7, "other": 7}, Nodes: abc}, 0,
			handlers.Wave{Epoch: 7, Base: 4, State: handlers.WaveCanary, Canaries: []string{"?"}, Out: map[string]uint64{"bad": 6}}},
		"the same sites once more": {handlers.WaveView{Last: failed, Head: 7, Set: map[string]uint64{"bad": 6, "mended": 5, "removed": 5, "other": 4}, Nodes: abc}, 0,
			handlers.Wave{Epoch: 7, Base: 4, State: handlers.WaveCanary, Canaries: []string{"?"}}},
		"at once without those that failed": {handlers.WaveView{Last: failed, Head: 7, Now: 7, Set: map[string]uint64{"bad": 6, "other": 7}, Nodes: abc}, 0,
			handlers.Wave{Epoch: 7, Base: 4, State: handlers.WaveRolled, Out: map[string]uint64{"bad": 6}}},
		"newer sites after those without some": {handlers.WaveView{Last: &handlers.Wave{Epoch: 6, Base: 5, State: handlers.WaveRolled, Out: map[string]uint64{"bad": 3}}, Head: 7,
			Set: map[string]uint64{"bad": 3, "other": 7}, Nodes: abc}, 0,
			handlers.Wave{Epoch: 7, Base: 6, State: handlers.WaveCanary, Canaries: []string{"?"}, Out: map[string]uint64{"bad": 3}}},
		"canary had failed before": {handlers.WaveView{Last: canary, Head: 7, Nodes: abc, Reports: []handlers.SitesReport{{Node: "a", Epoch: 6, Failed: "404"}}}, time.Second, *canary},
		"one of two has proved": {handlers.WaveView{Last: &handlers.Wave{Epoch: 7, Base: 6, State: handlers.WaveProving, Canaries: []string{"a", "b"}, Since: waveStart}, Head: 7, Nodes: abc,
			Reports: []handlers.SitesReport{{Node: "a", Epoch: 7}, {Node: "b", Epoch: 7, Proved: true}}}, time.Second,
			handlers.Wave{Epoch: 7, Base: 6, State: handlers.WaveProving, Canaries: []string{"a", "b"}}},
		"canary has died": {handlers.WaveView{Last: canary, Head: 7, Nodes: abc}, time.Minute,
			handlers.Wave{Epoch: 7, Base: 6, State: handlers.WaveCanary, Canaries: []string{"?"}, Spent: []string{"a"}}},
		"canary is drained": {handlers.WaveView{Last: canary, Head: 7, Nodes: drained}, time.Second,
			handlers.Wave{Epoch: 7, Base: 6, State: handlers.WaveCanary, Canaries: []string{"b"}}},
		"last canary has died": {handlers.WaveView{Last: &handlers.Wave{Epoch: 7, Base: 6, State: handlers.WaveProving, Canaries: []string{"b"}, Spent: []string{"a", "c"}, Since: waveStart}, Head: 7, Nodes: abc}, time.Minute,
			handlers.Wave{Epoch: 7, Base: 6, State: handlers.WaveHalted, Spent: []string{"a", "b", "c"}, Reason: "no canary has proved it within 1m0s each: a, b, c"}},
		"nobody in service": {handlers.WaveView{Last: canary, Head: 7}, time.Hour, handlers.Wave{Epoch: 7, Base: 6, State: handlers.WaveCanary}},
		"at once": {handlers.WaveView{Last: canary, Head: 7, Now: 7, Nodes: abc}, 0,
			handlers.Wave{Epoch: 7, Base: 6, State: handlers.WaveRolled}},
		"at once after a halt": {handlers.WaveView{Last: &handlers.Wave{Epoch: 7, Base: 6, State: handlers.WaveHalted, Reason: "x"}, Head: 7, Now: 7, Nodes: abc}, 0,
			handlers.Wave{Epoch: 7, Base: 6, State: handlers.WaveRolled}},
		"at once is for another": {handlers.WaveView{Last: canary, Head: 7, Now: 6, Nodes: abc}, 0, *canary},
		"halted stays": {handlers.WaveView{Last: &handlers.Wave{Epoch: 7, Base: 6, State: handlers.WaveHalted, Canaries: []string{"a"}, Reason: "x"}, Head: 7, Nodes: abc,
			Reports: []handlers.SitesReport{{Node: "a", Epoch: 7, Proved: true}}}, time.Hour,
			handlers.Wave{Epoch: 7, Base: 6, State: handlers.WaveHalted, Canaries: []string{"a"}, Reason: "x"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, _ := handlers.NextWave(tt.view, waveRules, waveStart.Add(tt.after))
			if got == nil {
				t.Fatal("NextWave() = nil, want a record")
			}
			if slices.Equal(tt.want.Canaries, []string{"?"}) && len(got.Canaries) == 1 && !slices.Contains(got.Spent, got.Canaries[0]) {
				tt.want.Canaries = got.Canaries
			}
			tt.want.Since = got.Since
			if fmt.Sprint(*got) != fmt.Sprint(tt.want) {
				t.Errorf("NextWave() = %+v, want %+v", *got, tt.want)
			}
			if err := got.Check(); err != nil {
				t.Errorf("Check() = %v", err)
			}
		})
	}
	if got, _ := handlers.NextWave(handlers.WaveView{Nodes: abc}, waveRules, waveStart); got != nil {
		t.Errorf("NextWave() without sites = %+v, want none", got)
	}
}

func TestMayApply(t *testing.T) {
	w := handlers.Wave{Epoch: 7, Base: 6, Canaries: []string{"a"}, Spent: []string{"b"}}
	for state, want := range map[handlers.WaveState][3]uint64{
		handlers.WaveCanary:  {7, 6, 6},
		handlers.WaveProving: {7, 6, 6},
		handlers.WaveRolled:  {7, 7, 7},
		handlers.WaveHalted:  {6, 6, 6},
		"unknown":            {6, 6, 6},
	} {
		w.State = state
		if got := [3]uint64{w.MayApply("a"), w.MayApply("b"), w.MayApply("c")}; got != want {
			t.Errorf("MayApply() of canary, spent canary and another in state %s = %v, want %v", state, got, want)
		}
	}
}

// TestWaveAgain: what a halt holds up is set again without what failed, and what
// failed only by itself or on every node at once.
func TestWaveAgain(t *testing.T) {
	const all = "bad held there"
	set := map[string]uint64{"bad": 7, "held": 6, "there": 5}
	failed := map[string]uint64{"bad": 7, "other": 4}
	for name, tt := range map[string]struct {
		wave handlers.Wave
		head uint64
		set  map[string]uint64
		want [2]string // of canaries first, and now
	}{
		"halted":                  {handlers.Wave{Epoch: 7, Base: 5, State: handlers.WaveHalted, Out: failed}, 7, set, [2]string{"held", all}},
		"halted for one alone":    {handlers.Wave{Epoch: 7, Base: 5, State: handlers.WaveHalted, Out: failed}, 7, map[string]uint64{"bad": 7, "there": 5}, [2]string{"bad", "bad there"}},
		"halted for none of them": {handlers.Wave{Epoch: 7, Base: 5, State: handlers.WaveHalted}, 7, set, [2]string{"bad held", all}},
		"halted, newer on it":     {handlers.Wave{Epoch: 7, Base: 5, State: handlers.WaveHalted, Out: failed}, 8, set, [2]string{"", all}},
		"rolled out in part":      {handlers.Wave{Epoch: 8, Base: 5, State: handlers.WaveRolled, Out: failed}, 8, set, [2]string{"bad", "bad"}},
		"rolled out":              {handlers.Wave{Epoch: 8, Base: 5, State: handlers.WaveRolled}, 8, set, [2]string{"", ""}},
		"set since":               {handlers.Wave{Epoch: 8, Base: 5, State: handlers.WaveRolled, Out: map[string]uint64{"bad": 3}}, 8, set, [2]string{"", ""}},
		"not seen":                {handlers.Wave{Epoch: 5, Base: 4, State: handlers.WaveRolled}, 7, set, [2]string{"", all}},
		"on trial":                {handlers.Wave{Epoch: 7, Base: 5, State: handlers.WaveProving}, 7, set, [2]string{"", all}},
		"on trial without it":     {handlers.Wave{Epoch: 8, Base: 5, State: handlers.WaveCanary, Out: failed}, 8, set, [2]string{"", all}},
	} {
		var got [2]string
		for i, now := range []bool{false, true} {
			got[i] = strings.Join(tt.wave.Again(tt.set, tt.head, now), " ")
		}
		if got != tt.want {
			t.Errorf("Again() of one that is %s = %q, want %q", name, got, tt.want)
		}
	}
}

func TestWaveCheckRefuses(t *testing.T) {
	for name, w := range map[string]handlers.Wave{
		"nothing":         {},
		"older than base": {Epoch: 3, Base: 3, State: handlers.WaveRolled},
		"other state":     {Epoch: 3, State: "done"},
		"no reason":       {Epoch: 3, State: handlers.WaveHalted},
		"no name":         {Epoch: 3, State: handlers.WaveCanary, Canaries: []string{"a b"}},
		"twice":           {Epoch: 3, State: handlers.WaveCanary, Spent: []string{"a", "a"}},
		"a later site":    {Epoch: 3, State: handlers.WaveRolled, Out: map[string]uint64{"a": 4}},
		"a site never":    {Epoch: 3, State: handlers.WaveRolled, Out: map[string]uint64{"a": 0}},
	} {
		if err := w.Check(); err == nil {
			t.Errorf("Check() of a wave with %s = nil, want an error", name)
		}
	}
}

// waveFleet is a fleet that follows its wave: some nodes fail some epochs, die,
// come back, are drained, and its leader changes at any time.
type waveFleet struct {
	nodes  []fleet.Node
	serves map[string]uint64
	dead   map[string]bool
	bad    map[uint64]bool // epochs that no node can serve
	proved map[uint64]bool // epochs that a canary has proved, or that an operator wanted
	head   uint64
	forced uint64
	wave   *handlers.Wave
	now    time.Time
}

func (f *waveFleet) look(t *rapid.T, rules handlers.WaveRules) time.Time {
	v := handlers.WaveView{Last: f.wave, Head: f.head, Now: f.forced, Nodes: f.nodes}
	for _, n := range f.nodes {
		e := f.serves[n.Name]
		if e == 0 || f.dead[n.Name] {
			continue
		}
		r := handlers.SitesReport{Node: n.Name, Epoch: e, Proved: !f.bad[e]}
		if f.bad[e] {
			r.Failed = "it does not answer"
		}
		v.Reports = append(v.Reports, r)
	}
	w, wake := handlers.NextWave(v, rules, f.now)
	if w == nil {
		return wake
	}
	if err := w.Check(); err != nil {
		t.Fatalf("NextWave() = %+v: %v", *w, err)
	}
	if again, _ := handlers.NextWave(handlers.WaveView{Last: w, Head: v.Head, Now: v.Now, Nodes: v.Nodes, Reports: v.Reports}, rules, f.now); w.State == handlers.WaveHalted && fmt.Sprint(again) != fmt.Sprint(w) {
		t.Fatalf("NextWave() after %+v = %+v, want a halt to stay", *w, *again)
	}
	f.wave = w
	return wake
}

// follow lets every living node do what the wave says, and checks that no node
// but canaries serves what is not proved.
func (f *waveFleet) follow(t *rapid.T) {
	if f.wave == nil {
		return
	}
	if f.wave.State == handlers.WaveRolled {
		f.proved[f.wave.Epoch] = true
	}
	early := 0
	for _, n := range f.nodes {
		may := f.wave.MayApply(n.Name)
		if may != 0 && !f.proved[may] {
			early++
			if !slices.Contains(f.wave.Canaries, n.Name) {
				t.Fatalf("%s may apply %d, which nobody has proved, by %+v", n.Name, may, *f.wave)
			}
		}
		if !f.dead[n.Name] {
			f.serves[n.Name] = may
		}
	}
	if most := (fleet.Share{Percent: 40}).Of(len(f.nodes)); early > most {
		t.Fatalf("%d nodes may apply what is not proved, want at most %d: %+v", early, most, *f.wave)
	}
}

func TestWavesReachTheFleetOnlyWhenProved(t *testing.T) {
	rules := handlers.WaveRules{Canaries: fleet.Share{Percent: 40}, Deadline: time.Minute}
	rapid.Check(t, func(t *rapid.T) {
		f := &waveFleet{serves: map[string]uint64{}, dead: map[string]bool{}, bad: map[uint64]bool{}, proved: map[uint64]bool{}, now: waveStart}
		for i := range rapid.IntRange(1, 6).Draw(t, "nodes") {
			f.nodes = append(f.nodes, fleet.Node{Name: fmt.Sprintf("n%d", i), Healthy: true})
		}
		node := func() *fleet.Node { return &f.nodes[rapid.IntRange(0, len(f.nodes)-1).Draw(t, "node")] }
		t.Repeat(map[string]func(*rapid.T){
			"site set": func(t *rapid.T) {
				f.head++
				f.bad[f.head] = rapid.Bool().Draw(t, "bad")
			},
			"site set --now": func(*rapid.T) { f.head++; f.forced = f.head },
			"die":            func(*rapid.T) { f.dead[node().Name] = true },
			"come back":      func(*rapid.T) { f.dead[node().Name] = false },
			"drain":          func(*rapid.T) { n := node(); n.Maintenance = !n.Maintenance },
			"time":           func(*rapid.T) { f.now = f.now.Add(20 * time.Second) },
			"look":           func(t *rapid.T) { f.look(t, rules); f.follow(t) },
		})
		f.settle(t, rules)
	})
}

// settle lets time pass until the wave has ended: within one deadline for each
// node to apply and one to prove it, whoever is dead.
func (f *waveFleet) settle(t *rapid.T, rules handlers.WaveRules) {
	serving := 0
	for i := range f.nodes {
		if f.nodes[i].InService() {
			serving++
		}
	}
	if serving == 0 || f.head == 0 {
		return
	}
	for range 2*len(f.nodes) + 3 {
		wake := f.look(t, rules)
		f.follow(t)
		if wake.IsZero() {
			break
		}
		f.now = f.now.Add(time.Second)
		f.look(t, rules)
		f.follow(t)
		if wake.After(f.now) {
			f.now = wake
		}
	}
	switch w := f.wave; w.State {
	case handlers.WaveRolled:
	case handlers.WaveHalted:
		if !f.bad[w.Epoch] && !strings.HasPrefix(w.Reason, "no canary") {
			t.Fatalf("wave halted for %q although its epoch can be served", w.Reason)
		}
	default:
		t.Fatalf("wave does not end: %+v", *w)
	}
}
