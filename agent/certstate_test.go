package agent

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// TestLitterIsNotPutOff has one replacement after another.
func TestLitterIsNotPutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := certFollower{keep: time.Minute}
		f.litter()
		due := f.waste
		for range 5 {
			<-time.After(10 * time.Second)
			f.litter()
		}
		if f.waste != due || !f.littered {
			t.Errorf("the next look is at %s, and another one %t, want %s and true", f.waste, f.littered, due)
		}
	})
}

// TestManyNamesAreCollectedSeldom: a look at all of them costs the more the
// more there are.
func TestManyNamesAreCollectedSeldom(t *testing.T) {
	const names = 100
	for name, tt := range map[string]struct {
		wait  time.Duration // until the next try of what could not be written
		since time.Duration // the last collection
		want  bool
	}{
		"soon after the last":       {0, (names - 1) * collectEach, false},
		"later":                     {0, names * collectEach, true},
		"soon, with a disk in need": {certRetry, (names - 1) * collectEach, true},
	} {
		t.Run(name, func(t *testing.T) {
			g, _ := guarding(t, nil)
			synctest.Test(t, func(t *testing.T) {
				f := follows(t)
				f.renderer, f.keep, f.wait, f.collected = g.renderer, time.Millisecond, tt.wait, time.Now()
				served := map[string]fleet.Hash{}
				for i := range names {
					served[fmt.Sprintf("n%d.test", i)] = bundleNo(byte(i))
				}
				f.served.reset(served)
				f.litter()
				due := f.collected.Add(names * collectEach)
				<-time.After(tt.since)
				f.collect()
				if got := f.collected.Equal(time.Now()); got != tt.want {
					t.Errorf("collected %s after the last time: %t, want %t", tt.since, got, tt.want)
				}
				if !tt.want && !f.waste.Equal(due) {
					t.Errorf("the next look is at %s, want %s", f.waste, due)
				}
			})
		})
	}
}

// TestWhatWaitsKeepsNobodyBusy has bundles to collect while something else is
// still to be done: only changes that may name more of them put that off.
func TestWhatWaitsKeepsNobodyBusy(t *testing.T) {
	g, _ := guarding(t, nil)
	f := follows(t)
	f.renderer, f.keep, f.next = g.renderer, time.Minute, time.Now().Add(time.Hour)
	f.after.put(certRetry)
	f.after.head = []byte("sealed") // that a full disk did not take
	f.waste = time.Now().Add(-time.Second)
	f.collect()
	if f.collected.IsZero() {
		t.Error("nothing was collected while the head's copy waits, which may be what the disk has no room for")
	}

	f.collected, f.waste = time.Time{}, time.Now().Add(-time.Second)
	f.after.note(map[string]fleet.Hash{"a.test": bundleNo(2)}, map[string]fleet.Hash{"a.test": bundleNo(1)}, nil, false)
	f.collect()
	if !f.collected.IsZero() {
		t.Error("collected before it was noted what a.test goes back to")
	}
	if got := f.nextTime(); !got.Equal(f.after.due) {
		t.Errorf("nextTime() = %s ago, want %s, when what waits is due", time.Since(got), f.after.due)
	}
}
