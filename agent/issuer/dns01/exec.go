package dns01

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// program sets records by running a program as lego does, but ends it with the
// context, and shows the end of its output in errors.
type program struct {
	path string
	raw  bool // it makes name and value of the record itself
}

var errProgram = errors.New("not the path of a program from /")

func newProgram(s *settings) (provider, error) {
	p := program{path: s.need("EXEC_PATH"), raw: s.text("EXEC_MODE") == "RAW"}
	if p.path != "" && !filepath.IsAbs(p.path) {
		s.wrong("EXEC_PATH", errProgram)
	}
	// Nothing waits by these here.
	for _, name := range []string{"EXEC_PROPAGATION_TIMEOUT", "EXEC_POLLING_INTERVAL", "EXEC_SEQUENCE_INTERVAL"} {
		s.number(name, 0)
	}
	return p, nil
}

func (p program) set(ctx context.Context, r record) error   { return p.run(ctx, "present", r) }
func (p program) unset(ctx context.Context, r record) error { return p.run(ctx, "cleanup", r) }
func (p program) wait()                                     {}

func (p program) run(ctx context.Context, verb string, r record) error {
	if err := fleet.Leased(ctx); err != nil {
		return err
	}
	args := []string{verb, r.fqdn, r.value}
	if p.raw {
		args = []string{verb, "--", r.domain, r.token, r.keyAuth}
	}
	cmd := exec.CommandContext(ctx, p.path, args...) //nolint:gosec // the operator's program
	cmd.Dir = "/"
	// What it has started ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var output tail
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %s %s: %w: %q", p.path, verb, err, output.last)
	}
	return nil
}

// tail keeps the end of what is written to it.
type tail struct{ last []byte }

const maxTail = 300

func (t *tail) Write(p []byte) (int, error) {
	t.last = append(t.last, p...)
	t.last = t.last[max(0, len(t.last)-maxTail):]
	return len(p), nil
}
