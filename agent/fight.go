package agent

import "time"

// Pauses between repairs while others change the same again and again.
const (
	fightFirst = 250 * time.Millisecond
	fightMost  = 30 * time.Second
	fightOver  = 10 * time.Second // without an edit after the pause
)

// fight slows repairs down, so that two programs that undo each other's work
// do not do it as fast as they can. The first repair is made at once.
type fight struct {
	wait  time.Duration
	until time.Time // nothing is repaired before
}

// note takes a look into account that found something, or did not.
func (f *fight) note(now time.Time, found bool) {
	switch {
	case !found:
		return
	case now.Sub(f.until) > fightOver:
		f.wait = fightFirst
	default:
		f.wait = min(2*f.wait, fightMost)
	}
	f.until = now.Add(f.wait)
}
