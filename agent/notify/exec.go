package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// ErrCommand means that a program cannot be run as given.
var ErrCommand = errors.New("not a program to run")

// Exec runs a program for each event, which it gets as JSON on standard input.
// Exit status 0 is a delivery.
type Exec struct {
	argv []string
}

// NewExec is a program by its absolute path and its arguments. No shell sees
// them, and nothing of an event is ever among them.
func NewExec(argv []string) (*Exec, error) {
	if len(argv) == 0 || !filepath.IsAbs(argv[0]) {
		return nil, fmt.Errorf("%w: %q: give an absolute path", ErrCommand, argv)
	}
	return &Exec{argv}, nil
}

// String implements Sink.
func (x *Exec) String() string { return x.argv[0] }

// Send implements Sink.
func (x *Exec) Send(ctx context.Context, e Event, body []byte) error {
	cmd := exec.CommandContext(ctx, x.argv[0], x.argv[1:]...) //nolint:gosec // the operator's program
	cmd.Stdin = bytes.NewReader(body)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TLSFLEET_EVENT=" + string(e.Kind)}
	cmd.Dir = "/"
	// What it has started ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var output tail
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %s: %w: %q", x.argv[0], err, output.last)
	}
	return nil
}

// tail keeps the end of what is written to it.
type tail struct{ last []byte }

const maxTail = 500

func (t *tail) Write(p []byte) (int, error) {
	t.last = append(t.last, p...)
	t.last = t.last[max(0, len(t.last)-maxTail):]
	return len(p), nil
}
