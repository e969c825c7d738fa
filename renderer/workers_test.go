package renderer

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestWorkersThatLeaveLaterAreAwaited: nginx starts new workers a moment before
// old ones begin to leave.
func TestWorkersThatLeaveLaterAreAwaited(t *testing.T) {
	for name, tt := range map[string]struct {
		from, until time.Duration // when a worker is leaving
		left        int
		want        time.Duration // that it takes at least
	}{
		"none":                     {0, 0, 0, handover},
		"after the first look":     {150 * time.Millisecond, time.Second, 0, time.Second + handover},
		"one that stays":           {150 * time.Millisecond, time.Hour, 1, 5 * time.Second},
		"gone just before the end": {0, 4900 * time.Millisecond, 0, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				left, err := waitNoneLeaving(t.Context(), 5*time.Second, func() (int, error) {
					if at := time.Since(began); at >= tt.from && at < tt.until {
						return 1, nil
					}
					return 0, nil
				})
				if took := time.Since(began); left != tt.left || err != nil || took < tt.want || took > tt.want+2*lookEvery {
					t.Errorf("waitNoneLeaving() = %d, %v after %s, want %d after %s", left, err, took, tt.left, tt.want)
				}
			})
		})
	}
}
