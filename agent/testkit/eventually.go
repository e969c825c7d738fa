package testkit

import "time"

// pollEvery is the pause between two looks at a condition.
const pollEvery = 10 * time.Millisecond

// Eventually waits until cond returns nil. If that takes longer than timeout
// it ends the test with what was waited for and cond's last error.
func Eventually(tb TB, timeout time.Duration, what string, cond func() error) {
	tb.Helper()
	if err := poll(timeout, cond); err != nil {
		tb.Fatalf("wait %s for %s: %v", timeout, what, err)
	}
}

// poll calls cond until it returns nil or the time is up; then it returns
// cond's last error.
func poll(timeout time.Duration, cond func() error) error {
	deadline := time.Now().Add(timeout)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := cond()
		if err == nil || !time.Now().Before(deadline) {
			return err
		}
		<-tick.C
	}
}
