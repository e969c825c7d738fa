package lab

import (
	"context"
	"errors"
	"io"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

var _ testkit.TB = (*Program)(nil)

func TestProgramCleansUpHoweverItEnds(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	tests := map[string]struct {
		end  func(p *Program) error
		want string
	}{
		"done":  {func(*Program) error { return nil }, ""},
		"error": {func(*Program) error { return cause }, "cause"},
		"fatal": {func(p *Program) error { p.Fatalf("stop: %w", cause); return nil }, "stop: cause"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var order []string
			var dir string
			p := &Program{name: "p", log: log.New(io.Discard, "", 0)}
			err := p.Sub(t.Context(), "part", func(_ context.Context, p *Program) error {
				dir = p.TempDir()
				p.Cleanup(func() { order = append(order, "first") })
				p.Cleanup(func() { order = append(order, "second") })
				return tc.end(p)
			})
			if tc.want == "" && err != nil || tc.want != "" && (!errors.Is(err, cause) || !strings.HasSuffix(err.Error(), tc.want)) {
				t.Errorf("Sub() = %v, want %q", err, tc.want)
			}
			if want := []string{"second", "first"}; !slices.Equal(order, want) {
				t.Errorf("cleaned up %v, want %v", order, want)
			}
			if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("Stat() of the folder = %v, want none left", err)
			}
		})
	}
}

func TestProcessEndsWithWhatItStarted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pids := filepath.Join(dir, "pids")
	p := &Program{name: "p", log: log.New(io.Discard, "", 0)}
	var started []string
	if err := p.Sub(t.Context(), "part", func(_ context.Context, p *Program) error {
		c := Start(p, "sh", filepath.Join(dir, "log"), []string{"PIDS=" + pids},
			"/bin/sh", "-c", `sleep 60 & echo $$ $! >"$PIDS.new" && mv "$PIDS.new" "$PIDS"; wait`)
		testkit.Eventually(p, stopGrace, "the child", func() error {
			text, err := os.ReadFile(pids)
			started = strings.Fields(string(text))
			return err
		})
		return c.Ended()
	}); err != nil {
		t.Fatal(err)
	}
	if len(started) != 2 {
		t.Fatalf("pids = %v, want 2", started)
	}
	testkit.Eventually(t, stopGrace, "the end of both", func() error {
		for _, pid := range started {
			state, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
			if err == nil && !strings.Contains(string(state), ") Z ") {
				return errors.New(pid + " lives")
			}
			if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ESRCH) {
				return err
			}
		}
		return nil
	})
}

func TestRunTellsWholeLines(t *testing.T) {
	t.Parallel()
	var told []string
	out, err := RunTelling(t.Context(), nil, func(line string) { told = append(told, line) }, "/bin/sh", "-c", "echo out; printf 'a\nb' >&2; printf 'c\nrest' >&2; exit 3")
	if want := []string{"a", "bc"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
	if out != "out\n" || err == nil || !strings.HasSuffix(err.Error(), "a\nbc\nrest") {
		t.Errorf("RunTelling() = %q, %v, want out and all of standard error", out, err)
	}
}
