package renderer

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Titles nginx gives its processes (nginx, src/os/unix/ngx_process_cycle.c).
const (
	masterTitle  = "nginx: master process"
	workerTitle  = "nginx: worker process"
	leavingTitle = "nginx: worker process is shutting down"
)

// process is what /proc says of a process.
type process struct {
	pid    int
	parent int
	start  uint64 // clock ticks since boot: tells a process from a later one with its pid
	title  string // its command line, arguments joined by spaces
}

// readProcess reads /proc/<pid>; fs.ErrNotExist if there is no such process.
func readProcess(pid int) (process, error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return process{}, gone(err)
	}
	// The name in parentheses may hold anything; the numbers follow the last one.
	_, numbers, ok := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" "))
	fields := bytes.Fields(numbers)
	if !ok || len(fields) < 20 {
		return process{}, fmt.Errorf("read %s/stat: %d fields", dir, len(fields))
	}
	parent, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return process{}, fmt.Errorf("read %s/stat: %w", dir, err)
	}
	start, err := strconv.ParseUint(string(fields[19]), 10, 64)
	if err != nil {
		return process{}, fmt.Errorf("read %s/stat: %w", dir, err)
	}
	if state := fields[0]; state[0] == 'Z' || state[0] == 'X' {
		return process{}, fs.ErrNotExist
	}
	cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return process{}, gone(err)
	}
	title := strings.TrimSpace(strings.ReplaceAll(string(cmdline), "\x00", " "))
	return process{pid: pid, parent: parent, start: start, title: title}, nil
}

// gone turns the errors of a process that ends while it is read into one.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "no such process") {
		return fs.ErrNotExist
	}
	return err
}

// children lists the processes whose parent is pid.
func children(pid int) ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var all []process
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		p, err := readProcess(n)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list processes: %w", err)
		}
		if p.parent == pid {
			all = append(all, p)
		}
	}
	return all, nil
}

// workers lists the workers of a master, those shutting down included.
func workers(master int) ([]process, error) {
	all, err := children(master)
	if err != nil {
		return nil, err
	}
	var ws []process
	for _, p := range all {
		if p.title == workerTitle || p.title == leavingTitle {
			ws = append(ws, p)
		}
	}
	return ws, nil
}

// identity tells a process from a later one that got its pid.
type identity struct {
	pid   int
	start uint64
}

func (p process) identity() identity { return identity{p.pid, p.start} }
