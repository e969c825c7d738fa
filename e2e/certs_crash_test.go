package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// TestAgentKilledAtAnyStepOfACertificate kills the whole agent after each step
// of a renewal, a removal and a collection: every name goes on with its old or
// its new certificate, nginx can be started, and the next agent ends the work.
func TestAgentKilledAtAnyStepOfACertificate(t *testing.T) {
	t.Parallel()
	for _, step := range renderer.CertSteps() {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			o := onShared(t, 1, with(open, Settings{"certificates.keep_replaced": "1s"}))
			g := newGuarded(t, o)
			g.Agent.Stop(t)
			armed := filepath.Join(t.TempDir(), "armed")
			spec := strings.Join([]string{step, armed, g.Config}, "\n")
			g.Agent = startChild(t, "agent to die at "+step, filepath.Join(g.Nginx.Dir, step+".log"), append([]string{crashEnv + "=" + spec}, g.env...), os.Args[0])
			g.AwaitNoProblem(t)
			if err := os.WriteFile(armed, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			renewed := g.ca.Issue(t, 60, "a-guard.test")
			g.Import(t, renewed)
			g.Fleet.CLI(t, "cert", "remove", "b-guard.test", "--yes").Want(t, 0)
			testkit.Eventually(t, settle, "the death at "+step, func() error {
				if g.Agent.Running() {
					return errors.New("it runs")
				}
				return nil
			})
			if code := g.Agent.Code(); code != -1 {
				t.Fatalf("agent to die at %s ended with %d, want by a signal:\n%s", step, code, g.Agent.Log())
			}
			if err := g.Nginx.Test(t); err != nil {
				t.Errorf("nginx -t after a death at %s: %v", step, err)
			}
			old, fresh := g.serves(t, g.ca, "a-guard.test", g.a), g.serves(t, g.ca, "a-guard.test", renewed)
			if old != nil && fresh != nil {
				t.Errorf("after a death at %s neither the old nor the new is served: %v, %v", step, old, fresh)
			}
			g.StartAgent(t)
			g.AwaitServed(t, g.ca, "a-guard.test", renewed, g.Node)
			g.AwaitRefused(t, g.ca, "b-guard.test", g.Node)
			testkit.Eventually(t, settle, "one link, its bundle and at most the one before", func() error {
				stored, err := os.ReadDir(g.state + "/store")
				if live := g.Node.live(t); err != nil || len(stored) > 2 || len(live) != 1 {
					return fmt.Errorf("store has %v, live %v, %w", stored, live, err)
				}
				return nil
			})
			g.AwaitNoProblem(t)
		})
	}
}

// TestDiskFaultsUnderAnAgent lets a renewal meet a disk that takes nothing:
// the old certificate goes on, the report says why, and the new one comes with
// the disk.
func TestDiskFaultsUnderAnAgent(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		spoil, mend func(*testing.T, string)
		says        string
	}{
		"full": {
			func(t *testing.T, dir string) { fill(t, dir+"/filler") },
			func(t *testing.T, dir string) {
				if err := os.Remove(dir + "/filler"); err != nil {
					t.Fatal(err)
				}
			}, "no space left on device",
		},
		"no inodes": {
			func(t *testing.T, dir string) {
				remount(t, dir, 0, "nr_inodes=100")
				for i := range 100 {
					if err := put(fmt.Sprintf("%s/filler%d", dir, i), ""); err != nil {
						return
					}
				}
				t.Fatal("100 files were made with 100 inodes")
			},
			func(t *testing.T, dir string) { remount(t, dir, 0, "nr_inodes=1000") }, "no space left on device",
		},
		"read-only": {
			func(t *testing.T, dir string) { remount(t, dir, syscall.MS_RDONLY, "") },
			func(t *testing.T, dir string) { remount(t, dir, 0, "") }, "read-only file system",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			small := testkit.SmallTmpfs(t, 1<<20)
			o := onShared(t, 1, open)
			o.Nginx = func(_ int, o *testkit.NginxOptions) { o.StateDir = small }
			g := newGuarded(t, o)
			tt.spoil(t, small)
			renewed, added := g.ca.Issue(t, 60, "a-guard.test"), g.ca.Issue(t, 60, "c-guard.test")
			g.Import(t, renewed, added)
			g.AwaitReport(t, "a problem that says "+tt.says, func(r fleet.Report) error {
				for _, p := range r.Problems {
					if p.Severity == fleet.Alarm && strings.Contains(p.Message, tt.says) {
						return nil
					}
				}
				return fmt.Errorf("problems are %+v", r.Problems)
			})
			g.WantServed(t, g.ca, "with the disk "+name, "a-guard.test", g.a, g.Node)
			g.WantServed(t, g.ca, "with the disk "+name, "b-guard.test", g.b, g.Node)
			if err := g.Nginx.Test(t); err != nil {
				t.Errorf("nginx -t = %v with the disk %s", err, name)
			}
			tt.mend(t, small)
			g.AwaitServed(t, g.ca, "a-guard.test", renewed, g.Node)
			g.AwaitServed(t, g.ca, "c-guard.test", added, g.Node)
			g.AwaitNoProblem(t)
		})
	}
}

func remount(t *testing.T, dir string, flags uintptr, data string) {
	t.Helper()
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|flags, data); err != nil {
		t.Fatalf("remount %s: %v", dir, err)
	}
}
