package issuance

import (
	"testing"
	"time"
)

func TestRenewAtLeavesAThird(t *testing.T) {
	tests := map[string]struct {
		life           time.Duration
		earliest, last float64 // share of the lifetime
	}{
		"90 days":   {90 * 24 * time.Hour, 2./3 - 0.1, 2. / 3},
		"45 days":   {45 * 24 * time.Hour, 2./3 - 0.1, 2. / 3},
		"160 hours": {160 * time.Hour, 0.4, 0.5},
		"1 hour":    {time.Hour, 0.4, 0.5},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			seen := map[time.Time]bool{}
			for n := range 200 {
				at := RenewAt(numbered(t, n).ID(), t0, t0.Add(tt.life))
				seen[at] = true
				if share := float64(at.Sub(t0)) / float64(tt.life); share < tt.earliest-0.001 || share > tt.last {
					t.Errorf("RenewAt() is after %.3f of the lifetime, want %.3f to %.3f", share, tt.earliest, tt.last)
				}
			}
			if len(seen) < 100 {
				t.Errorf("RenewAt() has %d times for 200 items, want them spread", len(seen))
			}
		})
	}
}

func TestSuggest(t *testing.T) {
	start, end := t0.AddDate(0, 0, 50), t0.AddDate(0, 0, 60)
	first, ok := Suggest(start, end, nil, time.Hour, 0.25, t0)
	if !ok || !first.Chosen.Equal(start.Add(60*time.Hour)) || !first.Check.Equal(t0.Add(time.Hour)) {
		t.Errorf("Suggest() = %+v, %v, want a quarter into the window, asked again after an hour", first, ok)
	}
	if same, _ := Suggest(start, end, &first, 0, 0.9, t0); !same.Chosen.Equal(first.Chosen) || !same.Check.Equal(t0.Add(usualPoll)) {
		t.Errorf("Suggest() of the same window = %+v, want the time chosen before", same)
	}
	if moved, _ := Suggest(start.AddDate(0, 0, -20), end, &first, 0, 0, t0); !moved.Chosen.Equal(start.AddDate(0, 0, -20)) {
		t.Errorf("Suggest() of another window chose %s, want a new time", moved.Chosen)
	}
	for name, w := range map[string][2]time.Time{"empty": {end, end}, "reversed": {end, start}, "zero": {}, "before 1970": {time.Unix(-5, 0), end}} {
		if _, ok := Suggest(w[0], w[1], nil, 0, 0, t0); ok {
			t.Errorf("Suggest() takes a window that is %s", name)
		}
	}
	for asked, want := range map[time.Duration]time.Duration{time.Second: leastPoll, 1000 * time.Hour: MostPoll, -time.Hour: usualPoll} {
		if w, _ := Suggest(start, end, nil, asked, 0, t0); !w.Check.Equal(t0.Add(want)) {
			t.Errorf("Suggest() with Retry-After %s asks again after %s, want %s", asked, w.Check.Sub(t0), want)
		}
	}
}

// TestNoRenewalStorm is a CA that wishes every certificate to be renewed now.
func TestNoRenewalStorm(t *testing.T) {
	c := certificate(45)
	now := t0.AddDate(0, 0, 5)
	w, ok := Suggest(t0, t0.AddDate(0, 0, 1), nil, 0, 0.5, now)
	if !ok {
		t.Fatal("Suggest() refuses a window that is over")
	}
	c.Window = &w
	minutes := map[int]int{}
	for n := range 6000 {
		at := RenewBy(numbered(t, n).ID(), c, now)
		if at.Before(now) || at.After(now.Add(stormSpread)) {
			t.Fatalf("RenewBy() = %s, want within an hour after %s", at, now)
		}
		minutes[int(at.Sub(now)/time.Minute)]++
	}
	for m, n := range minutes {
		if n > 200 {
			t.Errorf("RenewBy() has %d of 6,000 renewals in minute %d, want them spread over 60", n, m)
		}
	}
}

func TestRenewBy(t *testing.T) {
	inside, beyond := certificate(45), certificate(45)
	inside.Window = &Window{Chosen: t0.AddDate(0, 0, 20)}
	beyond.Window = &Window{Chosen: t0.AddDate(0, 0, 46)}
	id := item(t, "a.test").ID()
	usual := RenewAt(id, t0, t0.AddDate(0, 0, 45))
	tests := map[string]struct {
		cert Cert
		want time.Time
	}{
		"no window":      {certificate(45), usual},
		"in the window":  {inside, t0.AddDate(0, 0, 20)},
		"beyond the end": {beyond, usual},
	}
	for name, tt := range tests {
		if got := RenewBy(id, tt.cert, t0); !got.Equal(tt.want) {
			t.Errorf("RenewBy() with %s = %s, want %s", name, got, tt.want)
		}
	}
}
