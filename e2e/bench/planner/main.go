// Command planner shows whose turn it is under the limits of a CA, in virtual
// time: no network, no clock. It prints one line for each case:
//
//	bench=planner case= names= hours= ideal_hours= refused= expired= peak_over_mean= tick_us=
//
// refused counts orders that a CA with the limits of Let's Encrypt would refuse,
// counted by token buckets of its own; expired counts certificates that ended
// before they were renewed; tick_us is the mean time of one decision. It ends with
// 1 when a figure is not as expected.
package main

import (
	"fmt"
	"os"
)

func main() {
	code := 0
	for _, run := range []func() (result, error){first, func() (result, error) { return steady(steadyNames) }} {
		r, err := run()
		if err == nil {
			fmt.Println(r)
			err = r.judge(mostTick)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "planner: error: %v\n", err)
			code = 1
		}
	}
	os.Exit(code)
}
