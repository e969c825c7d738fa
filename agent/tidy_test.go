package agent

import (
	"slices"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func TestTidyWaitsForTheGraceTime(t *testing.T) {
	a, b := fleet.Hash{1}, fleet.Hash{2}
	now := time.Unix(1_000_000, 0)
	var x tidy
	steps := []struct {
		after   time.Duration
		orphans []fleet.Hash
		ripe    []fleet.Hash
	}{
		{0, []fleet.Hash{a}, nil},
		{tidyGrace / 2, []fleet.Hash{a, b}, nil},
		{tidyGrace, []fleet.Hash{a, b}, []fleet.Hash{a}},
		{tidyGrace + time.Minute, []fleet.Hash{b}, nil},      // a is named again
		{2 * tidyGrace, []fleet.Hash{a, b}, []fleet.Hash{b}}, // and an orphan anew
	}
	for _, s := range steps {
		if got := x.ripe(s.orphans, now.Add(s.after)); !slices.Equal(got, s.ripe) {
			t.Errorf("ripe() after %v = %v, want %v", s.after, got, s.ripe)
		}
	}
}
