package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// stopGrace is how long a child may take to end after SIGTERM.
const stopGrace = 10 * time.Second

// Process is a running child with its own process group and log file.
type Process struct {
	Name    string
	LogFile string
	cmd     *exec.Cmd
	done    chan struct{}
	err     error // how it ended; to be read once done is closed
}

// Start starts argv with env added to the environment and both outputs going
// to logFile. It ends with tb, by SIGTERM and, after a grace time, SIGKILL to
// its group; or with this process, however that one ends.
func Start(tb testkit.TB, name, logFile string, env []string, argv ...string) *Process {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		tb.Fatalf("start %s: %v", name, err)
	}
	c := &Process{Name: name, LogFile: logFile, done: make(chan struct{})}
	c.cmd = exec.Command(argv[0], argv[1:]...) //nolint:noctx,gosec // ended by stop; argv is our own
	c.cmd.Env = append(os.Environ(), env...)
	c.cmd.Stdout, c.cmd.Stderr = log, log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		// The kernel sends Pdeathsig when the starting thread ends: keep it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		started <- errors.Join(err, log.Close())
		if err == nil {
			c.err = c.cmd.Wait()
			close(c.done)
		}
	}()
	if err := <-started; err != nil {
		tb.Fatalf("start %s: %v", name, err)
	}
	tb.Cleanup(func() {
		if f, ok := tb.(interface{ Failed() bool }); ok && f.Failed() {
			tb.Logf("log of %s:\n%s", name, c.Tail())
		}
		if err := c.stop(); err != nil {
			tb.Logf("%v", err)
		}
	})
	return c
}

// Ended is nil while the process runs; else how it ended, never nil.
func (c *Process) Ended() error {
	select {
	case <-c.done:
		return fmt.Errorf("%s ended: %w", c.Name, errors.Join(c.err, errors.New(c.Tail())))
	default:
		return nil
	}
}

// PID is the process's number.
func (c *Process) PID() int { return c.cmd.Process.Pid }

// Signal sends a signal to the process alone: SIGSTOP freezes it, SIGCONT thaws
// it.
func (c *Process) Signal(sig syscall.Signal) error { return signalProcess(c.PID(), sig) }

// Kill ends the process and what it started.
func (c *Process) Kill() error {
	err := signalProcess(-c.PID(), syscall.SIGKILL)
	<-c.done
	return err
}

// Tail is the end of the log.
func (c *Process) Tail() string {
	const most = 4 << 10
	text, err := os.ReadFile(c.LogFile)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-most):]))
}

func (c *Process) stop() error {
	pid := c.cmd.Process.Pid
	err := signalProcess(pid, syscall.SIGTERM)
	timer := time.NewTimer(stopGrace)
	defer timer.Stop()
	select {
	case <-c.done:
	case <-timer.C:
		err = errors.Join(err, fmt.Errorf("stop %s: still running %s after SIGTERM", c.Name, stopGrace))
	}
	// What it started goes too: a watch handler in the middle of its delay.
	err = errors.Join(err, signalProcess(-pid, syscall.SIGKILL))
	<-c.done
	return err
}

func signalProcess(pid int, sig syscall.Signal) error {
	if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("send %s to %d: %w", sig, pid, err)
	}
	return nil
}

// Run runs argv to its end with env added to the environment and returns what
// it printed on standard output. The error has its standard error.
func Run(ctx context.Context, env []string, argv ...string) (string, error) {
	return RunTelling(ctx, env, func(string) {}, argv...)
}

// RunTelling is Run that tells each line of standard error as it comes.
func RunTelling(ctx context.Context, env []string, tell func(line string), argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...) //nolint:gosec // argv is our own
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopGrace
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, io.MultiWriter(&stderr, &teller{tell: tell})
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("run %s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// teller is a writer that tells whole lines.
type teller struct {
	tell func(line string)
	rest []byte
}

func (t *teller) Write(p []byte) (int, error) {
	t.rest = append(t.rest, p...)
	for {
		line, rest, found := bytes.Cut(t.rest, []byte("\n"))
		if !found {
			return len(p), nil
		}
		t.rest = rest
		t.tell(string(line))
	}
}
