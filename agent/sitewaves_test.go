package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/handlers"
)

// TestNodesThatProveNothingAreNoCanaries: one that is silent may be able to.
func TestNodesThatProveNothingAreNoCanaries(t *testing.T) {
	down := fleet.Reload{Result: fleet.ReloadNotRunning}
	got := able([]fleet.Node{{Name: "has"}, {Name: "idle"}, {Name: "silent"}, {Name: "started"}, {Name: "without"}}, []fleet.Report{
		{Node: "has", Waves: true}, {Node: "without"}, {Node: "idle", Waves: true, Reload: down}, {Node: "started", Waves: true, Proved: 1, Reload: down},
	})
	var names []string
	for _, n := range got {
		names = append(names, n.Name)
	}
	if want := []string{"has", "silent", "started"}; !slices.Equal(names, want) {
		t.Errorf("able() = %q, want %q", names, want)
	}
}

// TestSitesStateIsDone: what --wait waits for, with waves and without.
func TestSitesStateIsDone(t *testing.T) {
	wave := func(state handlers.WaveState, epoch uint64) *handlers.Wave {
		return &handlers.Wave{Epoch: epoch, Base: 1, State: state, Reason: "it is broken"}
	}
	for name, tt := range map[string]struct {
		state SitesState
		done  bool
		err   error
		text  string
	}{
		"everywhere":            {SitesState{Epoch: 3, Served: 2}, true, nil, "epoch 3: served by 2 of 2 nodes"},
		"one is behind":         {SitesState{Epoch: 3, Served: 1, Waiting: []string{"b"}}, false, nil, "epoch 3: served by 1 of 2 nodes, waiting for b"},
		"no nodes":              {SitesState{Epoch: 3}, false, nil, "served by 0 of 0"},
		"older list":            {SitesState{Epoch: 2, Served: 2}, false, nil, "epoch 2"},
		"former wave":           {SitesState{Epoch: 3, Served: 2, Wave: wave(handlers.WaveHalted, 3)}, true, nil, "served by 2 of 2"},
		"not seen":              {SitesState{Epoch: 3, Waves: true, Served: 2, Wave: wave(handlers.WaveRolled, 2)}, false, nil, "waiting for the leader"},
		"no record":             {SitesState{Epoch: 3, Waves: true, Waiting: []string{"a"}}, false, nil, "waiting for the leader"},
		"on trial":              {SitesState{Epoch: 3, Waves: true, Served: 2, Wave: wave(handlers.WaveProving, 3)}, false, nil, "to be proved by"},
		"halted":                {SitesState{Epoch: 3, Waves: true, Served: 2, Wave: wave(handlers.WaveHalted, 3)}, false, ErrHalted, "epoch 3 is halted: it is broken; every node serves epoch 1"},
		"rolled out":            {SitesState{Epoch: 3, Waves: true, Served: 2, Wave: wave(handlers.WaveRolled, 3)}, true, nil, "served by 2 of 2"},
		"rolled out in part":    {SitesState{Epoch: 3, Waves: true, Served: 2, Wave: &handlers.Wave{Epoch: 3, State: handlers.WaveRolled, Out: map[string]uint64{"d": 2, "c": 1}}}, true, nil, "served by 2 of 2 nodes, with these as they were: c d"},
		"rolled out without it": {SitesState{Epoch: 3, Waves: true, Served: 2, Wave: &handlers.Wave{Epoch: 3, State: handlers.WaveRolled, Out: map[string]uint64{"b": 2, "c": 1}}}, false, ErrHalted, "with these as they were: b c"},
		"rolling without it":    {SitesState{Epoch: 3, Waves: true, Served: 1, Waiting: []string{"n"}, Wave: &handlers.Wave{Epoch: 3, State: handlers.WaveRolled, Out: map[string]uint64{"b": 2}}}, false, nil, "waiting for n"},
		"rolled out, not there": {SitesState{Epoch: 3, Waves: true, Served: 1, Waiting: []string{"b"}, Wave: wave(handlers.WaveRolled, 3)}, false, nil, "waiting for b"},
	} {
		done, err := tt.state.done(3, []string{"a", "b"})
		if done != tt.done || !errors.Is(err, tt.err) {
			t.Errorf("done() of %s = %t, %v, want %t, %v", name, done, err, tt.done, tt.err)
		}
		if got := tt.state.Text(); !strings.Contains(got, tt.text) {
			t.Errorf("Text() of %s = %q, want %q", name, got, tt.text)
		}
	}
}

// TestFailedSitesAreNamed: with very many of them a report is about all sites.
func TestFailedSitesAreNamed(t *testing.T) {
	bad := map[string]string{"b": "404", "a": "502"}
	if got := idsOf(bad); got != "a b" {
		t.Errorf("idsOf(%v) = %q, want %q", bad, got, "a b")
	}
	for i := range mostBad {
		bad[fmt.Sprint("site", i)] = "404"
	}
	if got := idsOf(bad); got != "" {
		t.Errorf("idsOf() of %d sites = %q, want none", len(bad), got)
	}
}
