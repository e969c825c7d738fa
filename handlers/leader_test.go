package handlers

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

var (
	t0    = time.Unix(1_000_000, 0).UTC()
	hold  = Rules{RotateEvery: 12 * time.Hour, Deadline: time.Hour}
	proce = Rules{RotateEvery: 12 * time.Hour, Deadline: time.Hour, Proceed: true}
)

func promoted(r fleet.Ring, at time.Time) *fleet.Ring {
	r.Current.Promoted, r.Changed = at, at
	return &r
}

func proved(node string, epoch uint64) fleet.Report {
	return fleet.Report{Node: node, Mode: fleet.ModeRing, Seen: epoch, Applied: epoch, Ring: ring(epoch, 1).Digest(), Proved: epoch}
}

func members(names ...string) []fleet.Node {
	var out []fleet.Node
	for _, n := range names {
		out = append(out, fleet.Node{Name: n, Healthy: true})
	}
	return out
}

func TestDecide(t *testing.T) {
	old := promoted(ring(5, 1), t0.Add(-13*time.Hour))
	young := promoted(ring(5, 1), t0.Add(-time.Hour))
	adopting := *young
	adopting.Promote = true
	acted := *young
	acted.Events = []string{"e1"}
	all := []fleet.Report{proved("a", 5), proved("b", 5)}
	lagging := []fleet.Report{proved("a", 5), proved("b", 4)}
	ask := func(id string) Request { return Request{ID: id, Seen: t0} }
	give := func(id string, k byte, lt uint64) Request {
		return Request{ID: id, Adopt: true, Key: key(k).Raw, LTime: lt, Seen: t0}
	}
	other := proved("b", 5)
	other.Ring = ring(5, 2).Digest()
	drained := members("a", "b")
	drained[1].Maintenance = true
	tests := map[string]struct {
		view    View
		rules   Rules
		now     time.Time
		do      Action
		cause   fleet.Cause
		alarm   string
		skipped []string
		events  []string
		settled []string
		waiting []string
		wake    time.Time
		resign  bool
	}{
		"first ring":                     {view: View{}, do: Create, cause: fleet.CauseCreated},
		"missing, own is the newest":     {view: View{Own: young, HighWater: 5, Reports: all}, do: Republish, alarm: "no ring"},
		"missing, another saw more":      {view: View{Own: young, HighWater: 5, Reports: []fleet.Report{proved("b", 7)}}, do: Nothing, alarm: "b saw epoch 7", resign: true},
		"missing, a report unreadable":   {view: View{BadReport: true}, do: Nothing, alarm: "not every node's epoch"},
		"damaged, own is the newest":     {view: View{Damaged: true, Own: young, HighWater: 5, Reports: all}, do: Republish, alarm: "a damaged ring"},
		"damaged in a new fleet":         {view: View{Damaged: true}, do: Nothing, alarm: "a damaged ring"},
		"proof of another ring":          {view: View{Ring: old, Reports: []fleet.Report{proved("a", 5), other}}, do: Nothing, cause: fleet.CauseSchedule, waiting: []string{"b"}, alarm: "another ring of epoch 5"},
		"went back, own is the newest":   {view: View{Ring: promoted(ring(3, 1), t0), Own: young, HighWater: 5, Reports: all}, do: Republish, alarm: "ring epoch 3"},
		"went back, lost by all":         {view: View{Ring: promoted(ring(3, 1), t0), HighWater: 5}, do: Nothing, alarm: "emergency"},
		"went back, another holds it":    {view: View{Ring: promoted(ring(3, 1), t0), Reports: all}, do: Nothing, alarm: "emergency", resign: true},
		"not due":                        {view: View{Ring: young, Reports: all}, do: Nothing, wake: t0.Add(11 * time.Hour)},
		"made by a clock far ahead":      {view: View{Ring: promoted(ring(5, 1), t0.Add(48*time.Hour)), Reports: all}, do: Rotate, cause: fleet.CauseSchedule},
		"due and proved":                 {view: View{Ring: old, Reports: all}, do: Rotate, cause: fleet.CauseSchedule},
		"due, one behind, before limit":  {view: View{Ring: old, Reports: lagging}, now: t0.Add(-30 * time.Minute), do: Nothing, waiting: []string{"b"}, wake: t0, cause: fleet.CauseSchedule},
		"due, one behind, policy hold":   {view: View{Ring: old, Reports: lagging}, do: Nothing, waiting: []string{"b"}, alarm: "b (has epoch 4 of 5", cause: fleet.CauseSchedule},
		"due, one behind, proceed":       {view: View{Ring: old, Reports: lagging}, rules: proce, do: Rotate, skipped: []string{"b"}, cause: fleet.CauseSchedule},
		"due, one silent":                {view: View{Ring: old, Reports: all[:1]}, do: Nothing, waiting: []string{"b"}, alarm: "b (no report", cause: fleet.CauseSchedule},
		"due, one drained":               {view: View{Ring: old, Reports: all[:1], Nodes: drained}, do: Rotate, cause: fleet.CauseSchedule},
		"due, catalog without ourselves": {view: View{Ring: old, Nodes: members("b"), Reports: all}, do: Nothing, alarm: "does not show this node", wake: t0.Add(time.Second), cause: fleet.CauseSchedule},
		"asked by event":                 {view: View{Ring: young, Reports: all, Requests: []Request{ask("e1"), ask("e2")}}, do: Rotate, cause: fleet.CauseEvent, events: []string{"e1", "e2"}},
		"asked, acted on already":        {view: View{Ring: &acted, Reports: all, Requests: []Request{ask("e1")}}, do: Nothing, wake: t0.Add(11 * time.Hour)},
		"asked, one behind":              {view: View{Ring: young, Reports: lagging, Requests: []Request{ask("e1")}}, do: Nothing, cause: fleet.CauseEvent, events: []string{"e1"}, waiting: []string{"b"}, wake: t0.Add(time.Hour)},
		"a key is given":                 {view: View{Ring: young, Reports: lagging, Requests: []Request{give("k1", 50, 3)}}, do: Adopt, cause: fleet.CauseAdopt, events: []string{"k1"}},
		"many keys, the newest counts":   {view: View{Ring: young, Reports: all, Requests: []Request{give("k1", 50, 3), give("k2", 51, 9), give("k3", 52, 4)}}, do: Adopt, cause: fleet.CauseAdopt, events: []string{"k1", "k2", "k3"}},
		"key is current already":         {view: View{Ring: young, Reports: all, Requests: []Request{give("k1", 1, 3)}}, do: Nothing, settled: []string{"k1"}, wake: t0.Add(11 * time.Hour)},
		"adopted key waits for proof":    {view: View{Ring: &adopting, Reports: lagging}, now: t0.Add(-30 * time.Minute), do: Nothing, cause: fleet.CausePromote, waiting: []string{"b"}, wake: t0},
		"adopted key is promoted":        {view: View{Ring: &adopting, Reports: all}, do: Rotate, cause: fleet.CausePromote},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.view.Nodes == nil {
				tt.view.Nodes = members("a", "b")
			}
			tt.view.Self = "a"
			if tt.now.IsZero() {
				tt.now = t0
			}
			if tt.rules == (Rules{}) {
				tt.rules = hold
			}
			d := Decide(tt.view, tt.rules, tt.now)
			if d.Do != tt.do || d.Cause != tt.cause {
				t.Errorf("Decide() = %s for %q, want %s for %q (%+v)", d.Do, d.Cause, tt.do, tt.cause, d)
			}
			if (d.Alarm == "") != (tt.alarm == "") || !strings.Contains(d.Alarm, tt.alarm) {
				t.Errorf("Decide() alarm = %q, want one with %q", d.Alarm, tt.alarm)
			}
			same := func(what string, got, want []string) {
				if !slices.Equal(got, want) {
					t.Errorf("Decide() %s = %v, want %v", what, got, want)
				}
			}
			if d.Resign != tt.resign {
				t.Errorf("Decide() resigns: %v, want %v", d.Resign, tt.resign)
			}
			same("skipped", d.Skipped, tt.skipped)
			same("events", d.Events, tt.events)
			same("settled", d.Settled, tt.settled)
			same("waiting", Names(d.Waiting), append([]string{}, tt.waiting...))
			if !d.Wake.Equal(tt.wake) {
				t.Errorf("Decide() wake = %v, want %v", d.Wake, tt.wake)
			}
		})
	}
}

func TestDecideAdoptsTheNewestKey(t *testing.T) {
	v := View{Self: "a", Ring: promoted(ring(5, 1), t0), Nodes: members("a"), Reports: []fleet.Report{proved("a", 5)}}
	for i, lt := range []uint64{3, 9, 4} {
		v.Requests = append(v.Requests, Request{ID: string(rune('a' + i)), Adopt: true, Key: key(byte(50 + i)).Raw, LTime: lt, Seen: t0})
	}
	if d := Decide(v, hold, t0); d.Request == nil || d.Request.LTime != 9 {
		t.Errorf("Decide() adopts %+v, want the request with LTime 9", d.Request)
	}
}

func TestStandingsCountsReportersOutsideTheCatalog(t *testing.T) {
	got := Standings(ring(5, 1), members("b"), []fleet.Report{proved("a", 4), proved("b", 5)})
	if len(got) != 2 || got[0].Node != "a" || !got[0].Waiting || got[1].Waiting {
		t.Errorf("Standings() = %+v, want a waiting and b proved", got)
	}
}

func TestStandingsNeverTakesPerHostKeysForProof(t *testing.T) {
	rep := proved("a", 5)
	rep.Mode = fleet.ModePerHost
	if got := Standings(ring(5, 1), members("a"), []fleet.Report{rep}); got[0].Proved || !got[0].Waiting {
		t.Errorf("Standings() = %+v, want a waiting", got)
	}
}
