package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// memory is the resident memory of a process, now and at its most, in bytes
// (proc(5), status).
func memory(pid int) (now, most int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("read memory: %w", err)
	}
	values := map[string]int64{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		if n, ok := strings.CutSuffix(strings.TrimSpace(value), " kB"); ok {
			if values[key], err = strconv.ParseInt(n, 10, 64); err != nil {
				return 0, 0, fmt.Errorf("read memory: %w", err)
			}
		}
	}
	if values["VmRSS"] == 0 || values["VmHWM"] == 0 {
		return 0, 0, fmt.Errorf("read memory: process %d says nothing of it", pid)
	}
	return values["VmRSS"] << 10, values["VmHWM"] << 10, nil
}
