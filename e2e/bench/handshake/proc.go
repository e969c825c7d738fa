package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// settled is how long old workers may take to end.
const settled = 30 * time.Second

// onlyWorker is the worker of a master, once no other is left.
func onlyWorker(ctx context.Context, master int) (pid int, err error) {
	ctx, cancel := context.WithTimeout(ctx, settled)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", master, master))
		if err != nil {
			return 0, fmt.Errorf("find worker: %w", err)
		}
		if children := strings.Fields(string(text)); len(children) == 1 {
			return strconv.Atoi(children[0])
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("find worker among %q: %w", text, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// cpu is the time a process has run (Linux, Documentation/scheduler/sched-stats).
func cpu(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
	if err != nil {
		return 0, fmt.Errorf("read CPU time: %w", err)
	}
	first, _, _ := strings.Cut(string(text), " ")
	ns, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read CPU time: %w", err)
	}
	return time.Duration(ns), nil
}

// proportional is the memory of processes in bytes, each page divided by how
// many have it.
func proportional(pids ...int) (bytes int64, err error) {
	for _, pid := range pids {
		kib, err := pss(filepath.Join("/proc", strconv.Itoa(pid), "smaps_rollup"))
		if err != nil {
			return 0, fmt.Errorf("read memory of %d: %w", pid, err)
		}
		bytes += kib << 10
	}
	return bytes, nil
}

func pss(file string) (kib int64, err error) {
	f, err := os.Open(file) //nolint:gosec // a file of /proc
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "Pss:"); ok {
			return strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
		}
	}
	return 0, errors.Join(errors.New("no line Pss"), lines.Err())
}
