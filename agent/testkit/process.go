package testkit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a running child in a process group of its own, so that Ctrl-C in
// a terminal reaches only its parent.
type process struct {
	name string
	pid  int
	log  *os.File      // standard output and error
	done chan struct{} // closed when it ended
	err  error         // how it ended; to be read once done is closed

	once sync.Once // the group is killed once: later its number may be another's
}

// startProcess starts argv with both outputs going to log. The child gets the
// signal orphan when this process dies, however it dies.
func startProcess(name string, argv []string, log *os.File, orphan syscall.Signal) (*process, error) {
	p := &process{name: name, log: log, done: make(chan struct{})}
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:noctx // ended by stop
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: orphan}
	started := make(chan error, 1)
	go func() {
		// The kernel sends Pdeathsig when the starting thread ends: keep it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err != nil {
			started <- fmt.Errorf("start %s: %w", name, err)
			return
		}
		p.pid = cmd.Process.Pid
		started <- nil
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, <-started
}

// running reports whether the process has not ended yet.
func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// signal sends sig to the process, not to its group.
func (p *process) signal(sig syscall.Signal) error {
	if !p.running() {
		return fmt.Errorf("send %s to %s: %w", sig, p.name, os.ErrProcessDone)
	}
	if err := syscall.Kill(p.pid, sig); err != nil {
		return fmt.Errorf("send %s to %s: %w", sig, p.name, err)
	}
	return nil
}

// stopped returns an error while a thread of the process is not stopped.
func (p *process) stopped() error {
	if err := Stopped(p.pid); err != nil {
		return fmt.Errorf("look at %s: %w", p.name, err)
	}
	return nil
}

// Stopped returns an error while a thread of a process is not stopped: SIGSTOP
// comes to one thread after the other.
func Stopped(pid int) error {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(threads) == 0 {
		return fmt.Errorf("list threads of process %d: %d found, %w", pid, len(threads), err)
	}
	for _, file := range threads {
		stat, err := os.ReadFile(file) //nolint:gosec // of /proc
		if errors.Is(err, os.ErrNotExist) {
			continue // the thread has ended
		}
		if err != nil {
			return err
		}
		// The name in parentheses may hold anything; the state follows it.
		state := strings.TrimSpace(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if !strings.HasPrefix(state, "T") {
			return fmt.Errorf("%s is in state %.1s", file, state)
		}
	}
	return nil
}

// stop ends the process with sig, and after the grace time kills its whole
// group. An ended process is fine.
func (p *process) stop(sig syscall.Signal, grace time.Duration) error {
	if !p.running() {
		return p.killGroup()
	}
	for _, s := range []syscall.Signal{sig, syscall.SIGCONT} {
		if err := p.signal(s); err != nil && !gone(err) {
			return err
		}
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.killGroup()
	case <-timer.C:
	}
	err := p.killGroup()
	<-p.done
	return errors.Join(fmt.Errorf("stop %s: still running %s after %s", p.name, grace, sig), err)
}

// gone reports whether a signal failed because the process has ended.
func gone(err error) bool {
	return errors.Is(err, os.ErrProcessDone) || errors.Is(err, syscall.ESRCH)
}

// kill ends the process and its group with SIGKILL.
func (p *process) kill() error {
	err := p.killGroup()
	<-p.done
	return err
}

func (p *process) killGroup() (err error) {
	p.once.Do(func() {
		if e := syscall.Kill(-p.pid, syscall.SIGKILL); e != nil && !errors.Is(e, syscall.ESRCH) {
			err = fmt.Errorf("kill %s: %w", p.name, e)
		}
	})
	return err
}

// ended is why a process that should run does not.
func (p *process) ended() error {
	return fmt.Errorf("%s ended: %w\n%s", p.name, p.err, tail(p.log))
}

// tail is the end of a log that may still be written.
func tail(log *os.File) string {
	const most = 8 << 10
	info, err := log.Stat()
	if err != nil {
		return err.Error()
	}
	from := max(0, info.Size()-most)
	text, err := io.ReadAll(io.NewSectionReader(log, from, most))
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text))
}
