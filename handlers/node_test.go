package handlers

import (
	"errors"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// key is a ticket key whose name repeats n.
func key(n byte) fleet.TicketKey {
	raw := make([]byte, fleet.KeySize256)
	for i := range raw {
		raw[i] = n
	}
	return fleet.TicketKey{Raw: fleet.NewSecret(raw)}
}

// ring seals with current and has held the previous keys given.
func ring(epoch uint64, current byte, previous ...byte) fleet.Ring {
	r := fleet.Ring{Epoch: epoch, Current: key(current), Next: key(current + 100)}
	for _, p := range previous {
		r.Previous = append(r.Previous, key(p))
	}
	return r
}

func lost(s NodeState) NodeState {
	s.NoCopy = true
	return s
}

func TestPlanRing(t *testing.T) {
	on := func(epoch uint64, k byte) NodeState {
		return NodeState{Mode: fleet.ModeRing, Epoch: epoch, Key: key(k).Name(), HighWater: epoch}
	}
	emergency := ring(8, 9)
	emergency.Emergency = true
	tests := map[string]struct {
		state  NodeState
		ring   fleet.Ring
		reload bool
		urgent bool
		behind int
		err    error
	}{
		"first ring":             {NodeState{}, ring(1, 1), true, false, 0, nil},
		"same ring":              {on(3, 1), ring(3, 1), false, false, 0, nil},
		"one rotation":           {on(3, 1), ring(4, 2, 1), true, false, 1, nil},
		"two rotations":          {on(3, 1), ring(5, 3, 2, 1), true, false, 2, nil},
		"key no longer there":    {on(3, 1), ring(9, 5, 4, 3), true, false, 3, nil},
		"adopted, not since":     {on(3, 1), ring(4, 1), true, false, 0, nil},
		"emergency":              {on(3, 1), emergency, true, true, 0, nil},
		"older than accepted":    {on(7, 1), ring(6, 1), false, false, 0, ErrOlderRing},
		"older than tried":       {NodeState{Mode: fleet.ModeRing, Epoch: 5, Key: key(1).Name(), HighWater: 7}, ring(6, 2, 1), false, false, 0, ErrOlderRing},
		"another of same epoch":  {on(3, 1), ring(3, 2), false, false, 0, ErrForkedRing},
		"same ring, copy lost":   {lost(on(3, 1)), ring(3, 1), true, false, 0, nil},
		"forked, copy lost":      {lost(on(3, 1)), ring(3, 2), false, false, 0, ErrForkedRing},
		"other next, same epoch": {NodeState{Mode: fleet.ModeRing, Epoch: 3, Key: key(1).Name(), Digest: "0", HighWater: 3}, ring(3, 1), false, false, 0, ErrForkedRing},
		"back from per-host":     {NodeState{Mode: fleet.ModePerHost, HighWater: 3}, ring(3, 1), true, false, 0, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := PlanRing(tt.state, tt.ring)
			if !errors.Is(err, tt.err) || (err != nil) != (tt.err != nil) {
				t.Fatalf("PlanRing() error = %v, want %v", err, tt.err)
			}
			if got.Reload != tt.reload || got.Urgent != tt.urgent || got.Behind != tt.behind {
				t.Errorf("PlanRing() = %+v, want reload %v urgent %v behind %d", got, tt.reload, tt.urgent, tt.behind)
			}
		})
	}
}

func TestPlanCutOff(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	tests := map[string]struct {
		mode   fleet.Mode
		since  time.Time
		after  time.Duration
		reload bool
	}{
		"just cut off":     {fleet.ModeRing, now.Add(-time.Hour), 2 * time.Hour, false},
		"for too long":     {fleet.ModeRing, now.Add(-3 * time.Hour), 2 * time.Hour, true},
		"never":            {fleet.ModeRing, now.Add(-300 * time.Hour), 0, false},
		"already per host": {fleet.ModePerHost, now.Add(-3 * time.Hour), 2 * time.Hour, false},
		"nothing applied":  {fleet.ModeNone, time.Time{}, 2 * time.Hour, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := PlanCutOff(NodeState{Mode: tt.mode}, tt.since, now, tt.after)
			if got.Reload != tt.reload {
				t.Errorf("PlanCutOff() = %+v, want reload %v", got, tt.reload)
			}
			if got.Reload && got.Mode != fleet.ModePerHost {
				t.Errorf("PlanCutOff() mode = %q, want %q", got.Mode, fleet.ModePerHost)
			}
		})
	}
}
