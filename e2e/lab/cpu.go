package lab

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// cpuClock is the clock of what all threads of a process have used on processors
// (clock_getcpuclockid(3)): the two lowest bits are the kind, CPUCLOCK_SCHED.
func cpuClock(pid int) int32 {
	return ^int32(pid)<<3 | 2 //nolint:gosec // a process number
}

// CPUTime is what a process has used in user and kernel, to the nanosecond: an
// idle one uses less in a minute than the ticks of proc(5) tell apart.
func CPUTime(pid int) (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(cpuClock(pid), &t); err != nil {
		return 0, fmt.Errorf("read CPU time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}
