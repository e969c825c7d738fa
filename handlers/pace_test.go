package handlers

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestPaceDue(t *testing.T) {
	p := Pace{Splay: 4 * time.Second, Quiet: time.Second, MaxQuiet: 3 * time.Second, MinInterval: 10 * time.Second}
	t0 := time.Unix(1_000_000, 0)
	at := func(s float64) time.Time { return t0.Add(time.Duration(s * float64(time.Second))) }
	tests := map[string]struct {
		last, prev time.Time
		urgent     bool
		u          float64
		want       time.Time
	}{
		"one change waits for quiet":         {last: t0, want: at(1)},
		"its place in the splay is added":    {last: t0, u: 0.5, want: at(3)},
		"a burst waits for its last change":  {last: at(1.5), want: at(2.5)},
		"but not longer than the cap":        {last: at(9), want: at(3)},
		"the interval since the last reload": {last: t0, prev: at(-2), want: at(8)},
		"an old reload does not delay":       {last: t0, prev: at(-60), want: at(1)},
		"an urgent change waits for nothing": {last: t0, prev: at(-1), urgent: true, u: 0.9, want: t0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := p.Due(t0, tt.last, tt.prev, tt.urgent, tt.u); !got.Equal(tt.want) {
				t.Errorf("Due() = %v, want %v", got.Sub(t0), tt.want.Sub(t0))
			}
		})
	}
}

func TestPaceIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dur := func(name string) time.Duration {
			return time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, name))
		}
		p := Pace{Splay: dur("splay"), Quiet: dur("quiet"), MaxQuiet: dur("max_quiet"), MinInterval: dur("min_interval")}
		first := time.Unix(1_000_000, 0)
		last := first.Add(dur("burst"))
		prev := first.Add(-dur("prev"))
		due := p.Due(first, last, prev, false, rapid.Float64Range(0, 0.999999).Draw(t, "u"))
		if due.Before(prev.Add(p.MinInterval)) {
			t.Fatalf("Due() = %v after the last reload, want at least %v", due.Sub(prev), p.MinInterval)
		}
		limit := first.Add(p.MaxQuiet + p.Splay)
		if earliest := prev.Add(p.MinInterval); earliest.After(limit) {
			limit = earliest
		}
		if due.After(limit) {
			t.Fatalf("Due() = %v after the first change, want at most %v", due.Sub(first), limit.Sub(first))
		}
	})
}
