package renderer

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

func TestApplySignalsNobodyElse(t *testing.T) {
	t.Parallel()
	tests := map[string]func(t *testing.T) (pid int, what string){
		"a sleeping child": func(t *testing.T) (int, string) {
			cmd := exec.CommandContext(t.Context(), "sleep", "600")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := errors.Join(cmd.Process.Kill(), ignoreKilled(cmd.Wait())); err != nil {
					t.Error(err)
				}
			})
			// Its command line is empty for a moment.
			testkit.Eventually(t, 50*time.Second, "the child's title", func() error {
				p, err := readProcess(cmd.Process.Pid)
				if err == nil && p.title == "" {
					err = errors.New("none yet")
				}
				return err
			})
			return cmd.Process.Pid, "sleep 600"
		},
		"another nginx": func(t *testing.T) (int, string) {
			other := testkit.NewNginx(t, testkit.NginxOptions{})
			other.Start(t)
			waitWorkers(t, other.PID())
			return other.PID(), other.ConfigFile
		},
		"a worker of our nginx's kind": func(t *testing.T) (int, string) {
			other := testkit.NewNginx(t, testkit.NginxOptions{})
			other.Start(t)
			ws := waitWorkers(t, other.PID())
			return ws[0].pid, workerTitle
		},
	}
	for name, start := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t, testkit.NginxOptions{})
			pid, what := start(t)
			before, err := readProcess(pid)
			if err != nil {
				t.Fatal(err)
			}
			write(t, g.nginx.PIDFile, strconv.Itoa(pid)+"\n")
			o, err := g.Apply(t.Context(), ringRelease(newRing(t, 1)))
			if !errors.Is(err, ErrNotNginx) || o.Reload.Result != fleet.ReloadRejected {
				t.Fatalf("Apply() = %+v, %v, want %v", o.Reload, err, ErrNotNginx)
			}
			if !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), strconv.Itoa(pid)) {
				t.Errorf("Apply() = %v, want pid %d and %q named", err, pid, what)
			}
			if _, err := g.Prove(t.Context()); err != nil {
				t.Errorf("Prove() without a release = %v, want nil", err)
			}
			if after, err := readProcess(pid); err != nil || after.identity() != before.identity() {
				t.Errorf("process is %+v, %v, want it untouched: %+v", after, err, before)
			}
			if a := g.active(t); a.Release != 0 {
				t.Errorf("Active() = %+v, want nothing changed", a)
			}
		})
	}
}

func ignoreKilled(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

func TestReloadMissesAReusedPID(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	g.nginx.Start(t)
	m, err := g.master(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m.start-- // an earlier process had this pid
	if err := g.reload(t.Context(), m); !errors.Is(err, errNotRunning) {
		t.Errorf("reload(earlier process) = %v, want %v", err, errNotRunning)
	}
	if log := g.nginx.ErrorLog(); strings.Contains(log, "SIGHUP") {
		t.Errorf("nginx was signalled:\n%s", log)
	}
}

func TestMasterReadsPIDFile(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	tests := map[string]struct {
		text string
		want error
	}{
		"empty, as nginx -t leaves it": {"", errNotRunning},
		"no such process":              {"4194304999\n", errNotRunning},
		"init":                         {"1\n", ErrNotNginx},
		"not a number":                 {"nginx\n", ErrNotNginx},
		"negative":                     {"-5\n", ErrNotNginx},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			write(t, g.nginx.PIDFile, tt.text)
			if p, err := g.master(t.Context()); !errors.Is(err, tt.want) {
				t.Errorf("master() = %+v, %v, want %v", p, err, tt.want)
			}
		})
	}
}

func TestArgument(t *testing.T) {
	t.Parallel()
	const title = "nginx: master process /usr/sbin/nginx -g daemon on; -p /x -c/etc/n.conf"
	for option, want := range map[byte]string{'c': "/etc/n.conf", 'p': "/x", 'e': ""} {
		if got := argument(title, option); got != want {
			t.Errorf("argument(%q, %c) = %q, want %q", title, option, got, want)
		}
	}
}

func TestUrgentApplyEndsOldWorkersAndKeys(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	g.nginx.Start(t)
	g.mustProve(t, ringRelease(newRing(t, 1)))
	master, err := g.master(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before, err := workers(master.pid)
	if err != nil {
		t.Fatal(err)
	}
	holdConnection(t, g.nginx.TLSAddrs[0])
	second := newRing(t, 2)
	rel := ringRelease(second)
	rel.Urgent = true
	o := g.mustProve(t, rel)
	if o.Reload.Took < g.cfg.OldWorkerLimit {
		t.Errorf("Apply() took %s, want old workers to have had their %s: was the connection held?", o.Reload.Took, g.cfg.OldWorkerLimit)
	}
	// One that has given up its memory, and with it the keys, may be listed a moment longer.
	testkit.Eventually(t, 50*time.Second, "the end of the old workers", func() error {
		for _, w := range before {
			if _, err := readProcess(w.pid); err == nil {
				return fmt.Errorf("old worker %d still lives", w.pid)
			}
		}
		return nil
	})
	if _, err := readProcess(master.pid); err != nil {
		t.Errorf("master is %v, want it alive", err)
	}
	g.wantKeyFiles(t, second)
}

func TestUrgentApplyWithoutNginxDropsOldKeys(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	g.nginx.Start(t)
	g.mustProve(t, ringRelease(newRing(t, 1)))
	g.nginx.Stop(t)
	second := newRing(t, 2)
	rel := ringRelease(second)
	rel.Urgent = true
	g.apply(t, rel)
	g.wantKeyFiles(t, second)
}

func TestEndWorkerSparesOtherProcesses(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	g.nginx.Start(t)
	master, err := g.master(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ws := waitWorkers(t, master.pid)
	if err := endWorker(ws[0], master); err != nil {
		t.Errorf("endWorker(a worker in service) = %v, want nil", err)
	}
	if now, err := readProcess(ws[0].pid); err != nil || now.identity() != ws[0].identity() {
		t.Errorf("worker is %+v, %v, want it alive", now, err)
	}
	if log := g.nginx.ErrorLog(); strings.Contains(log, syscall.SIGTERM.String()) {
		t.Errorf("a worker was ended:\n%s", log)
	}
}

// waitWorkers waits until a master has started its workers, and so has taken
// its own title.
func waitWorkers(t *testing.T, master int) (ws []process) {
	t.Helper()
	testkit.Eventually(t, 50*time.Second, "workers", func() (err error) {
		if ws, err = workers(master); err == nil && len(ws) == 0 {
			err = errors.New("none")
		}
		return err
	})
	return ws
}

func TestMasterWaitsForAStartingNginx(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	// An nginx that reads its configuration from a pipe has no title yet.
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), g.cfg.Binary, "-c", pipe)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(cmd.Process.Kill(), ignoreKilled(cmd.Wait())); err != nil {
			t.Error(err)
		}
	})
	write(t, g.nginx.PIDFile, strconv.Itoa(cmd.Process.Pid))
	ctx, cancel := context.WithTimeout(t.Context(), 4*lookEvery)
	defer cancel()
	began := time.Now()
	if _, err := g.master(ctx); !errors.Is(err, ErrNotNginx) {
		t.Errorf("master() = %v, want %v", err, ErrNotNginx)
	}
	if waited := time.Since(began); waited < 3*lookEvery {
		t.Errorf("master() gave up after %s, want it to wait for the title", waited)
	}
}
