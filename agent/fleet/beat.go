package fleet

import "time"

// begun is what all beats are counted from.
var begun = time.Now()

// Beat is the next time after now for what is done every so often: a multiple of
// that since the process began, so it is at most that far away. What is done
// every 15 s then falls on what is done every 30 s, and an idle agent wakes once
// for both. Agents begin at different times: they do not ask Consul together.
func Beat(now time.Time, every time.Duration) time.Time {
	since := now.Sub(begun) % every
	if since < 0 { // by a clock of a test
		since += every
	}
	return now.Add(every - since)
}

// UntilBeat is how long to wait for it from now.
func UntilBeat(every time.Duration) time.Duration { return time.Until(Beat(time.Now(), every)) }
