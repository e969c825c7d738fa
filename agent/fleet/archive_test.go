package fleet_test

import (
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func TestArchiveLag(t *testing.T) {
	t.Parallel()
	now := time.Unix(1800000000, 0)
	tests := map[string]struct {
		since time.Time
		want  time.Duration
	}{
		"all copied":            {},
		"behind":                {now.Add(-90 * time.Second), 90 * time.Second},
		"behind since a moment": {now.Add(-time.Millisecond), time.Second},
		"parts of a second":     {now.Add(-2500 * time.Millisecond), 2 * time.Second},
		"by a clock ahead":      {now.Add(time.Minute), time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := (fleet.Archive{Since: tt.since}).Lag(now); got != tt.want {
				t.Errorf("Lag() = %s, want %s", got, tt.want)
			}
		})
	}
}

func TestArchiveSame(t *testing.T) {
	t.Parallel()
	at := time.Unix(1800000000, 0)
	behind := fleet.Archive{Name: "disk", Copied: at, Since: at, Pending: 3, Err: "away"}
	tests := map[string]struct {
		other fleet.Archive
		want  bool
	}{
		"the same":         {behind, true},
		"more waits":       {fleet.Archive{Name: "disk", Copied: at, Since: at, Pending: 4, Err: "away"}, true},
		"another change":   {fleet.Archive{Name: "disk", Since: at.Add(time.Second), Pending: 3, Err: "away"}, true},
		"other words":      {fleet.Archive{Name: "disk", Since: at, Err: "not there"}, true},
		"behind but works": {fleet.Archive{Name: "disk", Since: at, Pending: 3}, false},
		"all copied":       {fleet.Archive{Name: "disk", Copied: at}, false},
		"another archive":  {fleet.Archive{Name: "away", Since: at, Err: "away"}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := behind.Same(tt.other); got != tt.want {
				t.Errorf("Same(%+v) = %v, want %v", tt.other, got, tt.want)
			}
		})
	}
}
