package ticket_test

import (
	"math"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/ticket"
)

func TestKeepAndLifeBound(t *testing.T) {
	const h, m = time.Hour, time.Minute
	tests := map[string]struct {
		timeout, lag, interval time.Duration
		keep                   int
		life                   time.Duration
	}{
		"defaults":              {2 * h, 15 * m, 12 * h, 2, 48*h + 15*m},
		"even division":         {2 * h, 0, h, 3, 5 * h},
		"one ns over":           {2*h + 1, 0, h, 4, 6 * h},
		"one ns under":          {2*h - 1, 0, h, 3, 5 * h},
		"lag counts":            {2 * h, 1, h, 4, 6*h + 1},
		"nothing to keep":       {0, 0, h, 1, 3 * h},
		"negative is nothing":   {-5 * h, -h, h, 1, 3 * h},
		"long sessions, capped": {24 * h, 0, 10 * m, 30, 320 * m},
		"no interval":           {h, m, 0, 30, m},
		"negative interval":     {h, m, -h, 30, m},
		"overflow of the sum":   {math.MaxInt64, math.MaxInt64, h, 30, math.MaxInt64},
		"overflow of the life":  {h, 0, math.MaxInt64, 2, math.MaxInt64},
		"interval of 1 ns":      {math.MaxInt64, 0, 1, 30, 32},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := ticket.Keep(tt.timeout, tt.lag, tt.interval); got != tt.keep {
				t.Errorf("Keep(%v, %v, %v) = %d, want %d", tt.timeout, tt.lag, tt.interval, got, tt.keep)
			}
			if got := ticket.LifeBound(tt.timeout, tt.lag, tt.interval); got != tt.life {
				t.Errorf("LifeBound(%v, %v, %v) = %v, want %v", tt.timeout, tt.lag, tt.interval, got, tt.life)
			}
		})
	}
}

// TestKeepOutlivesTickets replays a schedule: the last ticket of every key,
// sealed by the slowest node, must still be opened by the ring when it is as
// old as a session can be, and LifeBound must be when the key is dropped.
func TestKeepOutlivesTickets(t *testing.T) {
	tests := map[string]struct{ timeout, lag, interval time.Duration }{
		"defaults":        {2 * time.Hour, 15 * time.Minute, 12 * time.Hour},
		"fast rotation":   {2 * time.Hour, 15 * time.Minute, 20 * time.Minute},
		"day-long":        {24 * time.Hour, time.Hour, 24 * time.Hour},
		"exact intervals": {time.Hour, time.Hour, time.Hour},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			keep := ticket.Keep(tt.timeout, tt.lag, tt.interval)
			r := firstRing(t)
			watched := r.Next.Name()
			var retired, dropped time.Time
			for i := 1; dropped.IsZero(); i++ {
				c := rotation(t, uint32(2+i))
				c.Now, c.Keep = day.Add(time.Duration(i)*tt.interval), keep
				var err error
				if r, err = ticket.Rotate(r, c); err != nil {
					t.Fatal(err)
				}
				dropped = c.Now
				for _, m := range r.Members() {
					if m.Key.Name() == watched {
						dropped, retired = time.Time{}, m.Key.Retired
					}
				}
			}
			if lastUse := retired.Add(tt.lag + tt.timeout); dropped.Before(lastUse) {
				t.Errorf("key dropped at %v, want not before its last ticket ends at %v", dropped, lastUse)
			}
			life := dropped.Add(tt.lag).Sub(day)
			if want := ticket.LifeBound(tt.timeout, tt.lag, tt.interval); life != want {
				t.Errorf("key lived %v, want LifeBound() = %v", life, want)
			}
		})
	}
}
