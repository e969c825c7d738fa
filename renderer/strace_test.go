package renderer

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// watchFiles notes every path that a process gives to the kernel from now on,
// also those of files that do not exist. paths ends the watch.
func watchFiles(t testing.TB, pid int) (paths func() []string) {
	t.Helper()
	binary, err := exec.LookPath("strace")
	if err != nil {
		t.Fatalf("find strace: %v\nhint: run 'make deps'", err)
	}
	dir := t.TempDir()
	file, said := filepath.Join(dir, "trace"), filepath.Join(dir, "stderr")
	cmd := exec.Command(binary, "-f", "-qq", "-e", "trace=%file", "-e", "signal=none", "-o", file, "-p", strconv.Itoa(pid))
	stderr, err := os.Create(said)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = stderr
	if err := errors.Join(cmd.Start(), stderr.Close()); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	stop := func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		if err := ignoreKilled(<-done); err != nil {
			t.Error(err)
		}
	}
	testkit.Eventually(t, 50*time.Second, "strace to watch the worker", func() error {
		if strings.Contains(read(t, fmt.Sprintf("/proc/%d/status", pid)), fmt.Sprintf("TracerPid:\t%d\n", cmd.Process.Pid)) {
			return nil
		}
		return errors.New("not yet: " + read(t, said))
	})
	return func() []string {
		stop()
		return tracedPaths(read(t, file))
	}
}

// quoted is a path in a line of strace.
var quoted = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"`)

// tracedPaths lists the paths of a trace, each once: the first of a call, so
// not what readlink answers.
func tracedPaths(trace string) []string {
	seen := map[string]bool{}
	var paths []string
	for line := range strings.Lines(trace) {
		m := quoted.FindStringSubmatch(line)
		if m == nil || m[1] == "" || seen[m[1]] { // "" is the file of a descriptor
			continue
		}
		seen[m[1]] = true
		paths = append(paths, m[1])
	}
	return paths
}
