package agent

import (
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// TestLostReleaseIsMadeAnew: a release that is gone before anybody has looked at
// it is neither forgotten nor told as proved.
func TestLostReleaseIsMadeAnew(t *testing.T) {
	t.Parallel()
	r, _ := idleRenderer(t)
	for name, until := range map[string]time.Time{"at once": {}, "after a pause": time.Now().Add(time.Hour)} {
		t.Run(name, func(t *testing.T) {
			v := &view{changed: func() {}, proved: 3}
			v.active.Release, v.active.Mode = 7, fleet.ModePerHost
			f := &follower{
				log: hclog.NewNullLogger(), renderer: r, view: v, foreign: &releaseSuspect{wake: newWake()},
				edits: &edits{log: hclog.NewNullLogger(), problems: newProblems(func() {})}, fight: fight{until: until},
			}
			f.prove(t.Context())
			if anew := f.change != nil; anew != until.IsZero() {
				t.Errorf("another release waits: %t, want %t", anew, until.IsZero())
			}
			if f.mendAt != until || v.active.Release != 7 || v.proved != 0 || !f.proveAt.After(time.Now()) {
				t.Errorf("mended at %s, release %d, proved %d, proof at %s, want release 7 unproved", f.mendAt, v.active.Release, v.proved, f.proveAt)
			}
		})
	}
}

func TestEditIsAsOldAsTheProofIsLate(t *testing.T) {
	now := time.Now()
	for late, want := range map[time.Duration]time.Time{
		-time.Second: now.Add(-guardMost), 3 * time.Second: now.Add(-3*time.Second - guardMost), time.Minute: {},
	} {
		f := &follower{proveAt: now.Add(-late)}
		if got := f.unseenSince(now); !got.Equal(want) {
			t.Errorf("unseenSince() of a proof %s late = %s, want %s", late, got, want)
		}
	}
}
