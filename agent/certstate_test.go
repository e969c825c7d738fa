package agent

import (
	"testing"
	"testing/synctest"
	"time"
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
