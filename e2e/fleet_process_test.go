package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// Child is a running program, ended with its test. Standard output and error
// go to its log file.
type Child struct {
	Name    string
	PID     int
	LogFile string

	cmd   *exec.Cmd
	done  chan struct{} // closed when it has ended
	err   error         // how it ended; to be read once done is closed
	began int           // bytes that earlier runs have left in the log file
}

// startChild starts argv with env added to the environment. The log file is
// appended to.
func startChild(t *testing.T, name, logFile string, env []string, argv ...string) *Child {
	t.Helper()
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	earlier, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	c := &Child{began: int(earlier), Name: name, LogFile: logFile, cmd: exec.Command(argv[0], argv[1:]...), done: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), env...)
	c.cmd.Stdout, c.cmd.Stderr = log, log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		// The kernel sends Pdeathsig when the starting thread ends: keep it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := errors.Join(c.cmd.Start(), log.Close())
		started <- err
		if err == nil {
			c.err = c.cmd.Wait()
			close(c.done)
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	c.PID = c.cmd.Process.Pid
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, c.Log())
		}
		c.Kill(t)
	})
	return c
}

// Running reports whether it has not ended.
func (c *Child) Running() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// Signal sends sig to the program alone: SIGSTOP freezes it, which has happened
// when Signal returns, SIGCONT thaws it.
func (c *Child) Signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if !c.Running() {
		t.Fatalf("send %s to %s: it has ended:\n%s", sig, c.Name, c.Log())
	}
	if err := syscall.Kill(c.PID, sig); err != nil {
		t.Fatalf("send %s to %s: %v", sig, c.Name, err)
	}
	if sig == syscall.SIGSTOP {
		testkit.Eventually(t, settle, c.Name+" to be frozen", func() error { return testkit.Stopped(c.PID) })
	}
}

// Kill ends the program and what it started with SIGKILL. An ended program is
// fine.
func (c *Child) Kill(t *testing.T) {
	t.Helper()
	if c.Running() {
		if err := syscall.Kill(-c.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Errorf("kill %s: %v", c.Name, err)
		}
	}
	<-c.done
}

// Stop sends SIGTERM and returns the exit code and how long it took to end.
// More than 20 s end the test.
func (c *Child) Stop(t *testing.T) (code int, took time.Duration) {
	t.Helper()
	begin := time.Now()
	c.Signal(t, syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(20 * time.Second):
		t.Fatalf("stop %s: still running after 20 s", c.Name)
	}
	return c.Code(), time.Since(begin)
}

// Code is the exit code of a program that has ended; -1 if a
// signal ended it.
func (c *Child) Code() int {
	<-c.done
	var exit *exec.ExitError
	switch {
	case c.err == nil:
		return 0
	case errors.As(c.err, &exit):
		return exit.ExitCode()
	default:
		return -1
	}
}

// Log is what it has written so far, also in earlier runs on the same file.
func (c *Child) Log() string {
	text, err := os.ReadFile(c.LogFile)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Result is how a program ended that was run to its end.
type Result struct {
	Argv           []string
	Code           int
	Stdout, Stderr string
	Took           time.Duration
}

// String shows a result in a failure message.
func (r Result) String() string {
	return fmt.Sprintf("%s: exit %d after %s\n%s%s", strings.Join(r.Argv, " "), r.Code, r.Took.Round(time.Millisecond), r.Stdout, r.Stderr)
}

// Want ends the test if the exit code is another, and returns r.
func (r Result) Want(t *testing.T, code int) Result {
	t.Helper()
	if r.Code != code {
		t.Fatalf("exit code = %d, want %d: %s", r.Code, code, r)
	}
	return r
}

// runToEnd runs argv with env added to the environment and stdin as its
// input. It may be called from any goroutine.
func runToEnd(t *testing.T, env []string, stdin string, argv ...string) Result {
	return runWith(t, nil, env, stdin, argv...)
}

func runWith(t *testing.T, attr *syscall.SysProcAttr, env []string, stdin string, argv ...string) Result {
	r := Result{Argv: argv}
	begin := time.Now()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = attr
	cmd.Stdin = strings.NewReader(stdin)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	r.Took, r.Stdout, r.Stderr = time.Since(begin), out.String(), errOut.String()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		r.Code = exit.ExitCode()
	case err != nil:
		t.Errorf("run %s: %v", argv[0], err)
		r.Code = -1
	}
	return r
}
