package fleet_test

import (
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func TestBeatsFallTogether(t *testing.T) {
	t.Parallel()
	const short, long = 15 * time.Second, time.Minute
	now := time.Now()
	first := fleet.Beat(now, short)
	for _, late := range []time.Duration{0, 1, -time.Hour, time.Hour, time.Millisecond, 7 * time.Second, 16 * time.Second, 59 * time.Second} {
		now = now.Add(late)
		for _, every := range []time.Duration{short, long} {
			at := fleet.Beat(now, every)
			if wait := at.Sub(now); wait <= 0 || wait > every {
				t.Errorf("Beat(%s) is in %s, want it after now and within that", every, wait)
			}
			if d := at.Sub(first); d%short != 0 {
				t.Errorf("Beat(%s) is %s after a beat of %s, want a multiple of that", every, d, short)
			}
		}
		if at := fleet.Beat(now, long); !fleet.Beat(at, long).Equal(at.Add(long)) {
			t.Errorf("Beat(%s) at a beat = %s, want the next one", long, fleet.Beat(at, long).Sub(at))
		}
	}
}
