package doctor

import (
	"fmt"
	"time"
)

// days tells a duration as people do.
func days(d time.Duration) string {
	if d < 48*time.Hour {
		return d.Round(time.Minute).String() + " ago"
	}
	return fmt.Sprintf("%d days ago", d/(24*time.Hour))
}

// Skew is how far clocks may be apart: the resolution of what is compared is a
// second, and answers take their time.
const Skew = 5 * time.Second

// Clock is what was seen of the time elsewhere.
type Clock struct {
	Now      time.Time
	Consul   time.Time // Date of an answer by another host; zero: none
	Ahead    []string  // nodes whose reports come from the future
	Unsynced bool      // the kernel says that nothing keeps this clock right (adjtimex(2))
	Err      error     // of asking the kernel
}

// Judge gives the finding "clock".
func (c Clock) Judge() Finding {
	const id = "clock"
	const mend = "have chrony or systemd-timesyncd keep the clocks of all hosts"
	if !c.Consul.IsZero() {
		if d := c.Now.Sub(c.Consul); d.Abs() > Skew {
			return warning(id, mend, "this clock is %s apart from Consul's", d.Abs().Round(time.Second))
		}
	}
	switch {
	case len(c.Ahead) > 0:
		return warning(id, mend, "this clock is behind those of %s: their reports come from the future", few(c.Ahead))
	case c.Unsynced:
		return warning(id, mend, "nothing keeps this clock right: the kernel calls it unsynchronised")
	case c.Err != nil && c.Consul.IsZero():
		return skipped(id, "", "the clock cannot be compared: %v", c.Err)
	}
	return ok(id, "no difference beyond %s was seen", Skew)
}
