package main

import (
	"crypto/tls"
	"errors"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// at is an attempt that many seconds after the start.
func at(start time.Time, seconds int, o lab.Outcome) lab.Attempt {
	return lab.Attempt{At: start.Add(time.Duration(seconds) * time.Second), Version: tls.VersionTLS13, Outcome: o}
}

func TestRecordTellsWindowsFromTheWhole(t *testing.T) {
	t.Parallel()
	var r record
	r.begin()
	r.windows = []span{{r.start.Add(10 * time.Second), r.start.Add(15 * time.Second)}, {r.start.Add(20 * time.Second), r.start.Add(22 * time.Second)}}
	for _, a := range []lab.Attempt{
		at(r.start, -1, lab.Lost), // before it began
		at(r.start, 1, lab.Full),
		at(r.start, 9, lab.Resumed),
		at(r.start, 10, lab.Lost),
		at(r.start, 14, lab.Resumed),
		at(r.start, 15, lab.Resumed), // the window is over
		at(r.start, 21, lab.Broken),
		at(r.start, 21, lab.Lost),
		at(r.start, 30, lab.Lost),
	} {
		r.add(a)
	}
	if got, want := r.all(), (lab.Counts{Attempts: 6, Resumed: 3, Lost: 3, Broken: 1, Full: 1}); got != want {
		t.Errorf("all() = %+v, want %+v", got, want)
	}
	if got, want := r.inWindows(), (lab.Counts{Attempts: 3, Resumed: 1, Lost: 2, Broken: 1}); got != want {
		t.Errorf("inWindows() = %+v, want %+v", got, want)
	}
	if got := r.all().Percent(); got != 50 {
		t.Errorf("Percent() = %v, want 50", got)
	}
}

func TestPromisesNamesWhatIsBroken(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		outcome lab.Outcome
		reloads int
		want    []error
	}{
		"kept":             {lab.Resumed, nodes, nil},
		"a ticket lost":    {lab.Lost, nodes, []error{errLost}},
		"a reload more":    {lab.Resumed, nodes + 1, []error{errReloads}},
		"a reload missing": {lab.Resumed, nodes - 1, []error{errReloads}},
		"both":             {lab.Lost, 2 * nodes, []error{errLost, errReloads}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := record{reloads: tc.reloads, windows: make([]span, 1)}
			r.begin()
			r.add(at(r.start, 1, tc.outcome))
			err := r.promises()
			if (err == nil) != (len(tc.want) == 0) {
				t.Errorf("promises() = %v, want %v", err, tc.want)
			}
			for _, want := range tc.want {
				if !errors.Is(err, want) {
					t.Errorf("promises() = %v, want one that is %v", err, want)
				}
			}
		})
	}
}

func TestPercentileIsTheNearestRank(t *testing.T) {
	t.Parallel()
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	tests := map[string]struct {
		of      []time.Duration
		percent int
		want    time.Duration
	}{
		"median of 100": {hundred, 50, 50},
		"p99 of 100":    {hundred, 99, 99},
		"p99 of 50":     {hundred[:50], 99, 50},
		"p50 of 1":      {hundred[:1], 50, 1},
		"p50 of 3":      {hundred[:3], 50, 2},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := percentile(tc.of, tc.percent); got != tc.want {
				t.Errorf("percentile(%d) = %d, want %d", tc.percent, got, tc.want)
			}
		})
	}
}
