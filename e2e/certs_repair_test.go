package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// newBehindProxy is a guarded node whose agent reaches Consul by a proxy.
func newBehindProxy(t *testing.T) (*guarded, *testkit.Proxy) {
	t.Helper()
	o := onShared(t, 1, open)
	proxy := testkit.FaultProxy(t, o.Consul.Addr)
	o.Node = func(int) Settings { return Settings{"consul.address": proxy.Addr} }
	return newGuarded(t, o), proxy
}

// TestForeignEditsWithConsulAway repairs what it can from what is on the host;
// the rest comes back with Consul.
func TestForeignEditsWithConsulAway(t *testing.T) {
	t.Parallel()
	g, proxy := newBehindProxy(t)
	before := tree(t, g.live, g.state+"/store")
	breaks(proxy, testkit.Rule{Fault: testkit.Cut})
	bundle := g.bundle(t, "b-guard.test")
	planted := bundle + "/root/index.html"
	if err := errors.Join(removeAll(g.live), put(planted, "x"), os.Chmod(bundle+"/privkey.pem", 0o666)); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, settle, "the repair with Consul away", func() error {
		if path := differ(before, tree(t, g.live, g.state+"/store")); path != "" {
			return fmt.Errorf("%s is not as before", path)
		}
		return nil
	})
	g.AwaitServed(t, g.ca, "b-guard.test", g.b, g.Node)
	if err := put(bundle+"/privkey.pem", "x"); err != nil {
		t.Fatal(err)
	}
	p := g.AwaitProblem(t, "certificate-damaged")
	WantProblem(t, p, fleet.Alarm, "b-guard.test")
	g.WantServed(t, g.ca, "with the other damaged", "a-guard.test", g.a, g.Node)
	breaks(proxy)
	g.AwaitServed(t, g.ca, "b-guard.test", g.b, g.Node)
	testkit.Eventually(t, settle, "the end of what was changed", func() error {
		if path := differ(before, tree(t, g.live, g.state+"/store")); path != "" {
			return fmt.Errorf("%s is not as before", path)
		}
		return nil
	})
	g.AwaitReport(t, "no certificate damaged", func(r fleet.Report) error {
		if _, ok := (NodeStatus{Report: &r}).Problem("certificate-damaged"); ok {
			return fmt.Errorf("problems are %+v", r.Problems)
		}
		return nil
	})
}

// TestEditsWhileStoppedAreRepairedAtTheStart changes files while no agent
// runs, and starts one with Consul away.
func TestEditsWhileStoppedAreRepairedAtTheStart(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*testing.T, *guarded) error{
		"live removed": func(_ *testing.T, g *guarded) error { return os.RemoveAll(g.live) },
		"links exchanged": func(t *testing.T, g *guarded) error {
			return relink(g.live+"/a-guard.test", "../store/"+filepath.Base(g.bundle(t, "b-guard.test")))
		},
		"document planted": func(t *testing.T, g *guarded) error { return put(g.bundle(t, "a-guard.test")+"/root/x", "x") },
		"foreign entry":    func(_ *testing.T, g *guarded) error { return os.Symlink("/etc", g.live+"/evil.test") },
		"modes": func(t *testing.T, g *guarded) error {
			return errors.Join(os.Chmod(g.live, 0o777), os.Chmod(g.bundle(t, "a-guard.test"), 0o777))
		},
	}
	for name, edit := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, proxy := newBehindProxy(t)
			before, release := tree(t, g.live, g.state+"/store"), g.release(t)
			g.Agent.Stop(t)
			breaks(proxy, testkit.Rule{Fault: testkit.Cut})
			if err := edit(t, g); err != nil {
				t.Fatal(err)
			}
			g.StartAgent(t)
			testkit.Eventually(t, settle, "the repair", func() error {
				if path := differ(before, tree(t, g.live, g.state+"/store")); path != "" {
					return fmt.Errorf("%s is not as before", path)
				}
				return nil
			})
			g.AwaitServed(t, g.ca, "a-guard.test", g.a, g.Node)
			g.AwaitServed(t, g.ca, "b-guard.test", g.b, g.Node)
			breaks(proxy)
			g.AwaitReport(t, "no alarm", func(r fleet.Report) error {
				for _, p := range r.Problems {
					if p.Severity == fleet.Alarm {
						return fmt.Errorf("problem %+v", p)
					}
				}
				return nil
			})
			if got := g.release(t); got[0] != release[0] {
				t.Errorf("release = %d, want %d as before", got[0], release[0])
			}
		})
	}
}

// TestEditThatAProofMeetsIsTold: a proof that comes before the guard, as after
// the process was stopped, neither hides an edit nor forgets the release.
func TestEditThatAProofMeetsIsTold(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(t *testing.T, g *guarded) (string, error){
		"ticket key changed": func(t *testing.T, g *guarded) (string, error) {
			t.Helper()
			return g.key(t), put(g.key(t), strings.Repeat("x", 80))
		},
		"release removed": func(t *testing.T, g *guarded) (string, error) {
			t.Helper()
			return g.current(t), removeAll(g.current(t))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const reprove = time.Second
			g := newGuarded(t, onShared(t, 1, with(open, Settings{"nginx.reprove_every": reprove.String()})))
			folders := []string{g.current(t), g.state + "/nginx/current", g.RunDir + "/tickets"}
			before, release := tree(t, folders...), g.release(t)
			awaitOld(t)
			g.Agent.Signal(t, syscall.SIGSTOP)
			path, err := edit(t, g)
			if err != nil {
				t.Fatal(err)
			}
			due := time.Now().Add(2 * reprove)
			testkit.Eventually(t, settle, "the time of a proof", func() error {
				if left := time.Until(due); left > 0 {
					return fmt.Errorf("it is in %s", left)
				}
				return nil
			})
			g.Agent.Signal(t, syscall.SIGCONT)
			g.AwaitToldOf(t, path, "foreign-edit", fleet.Warning)
			if path := differ(before, tree(t, folders...)); path != "" {
				t.Errorf("%s is not as before", path)
			}
			if got := g.release(t); got != release {
				t.Errorf("release and reloads = %v, want %v as before", got, release)
			}
		})
	}
}

// TestNginxThatReadAnEditIsReloaded lets nginx read a changed key file before
// the agent can repair it.
func TestNginxThatReadAnEditIsReloaded(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, onShared(t, 1, open))
	release := g.release(t)
	key := g.key(t)
	text, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	for i := 16; i < len(text); i++ {
		text[i] ^= 1 // the name stays
	}
	g.Agent.Signal(t, syscall.SIGSTOP)
	began := strings.Count(g.Nginx.ErrorLog(), "start worker processes")
	if err := os.WriteFile(key, text, 0o600); err != nil {
		t.Fatal(err)
	}
	g.Nginx.Signal(t, syscall.SIGHUP)
	testkit.Eventually(t, settle, "nginx to read the edit", func() error {
		if strings.Count(g.Nginx.ErrorLog(), "start worker processes") == began {
			return errors.New("no new workers yet")
		}
		return nil
	})
	g.Agent.Signal(t, syscall.SIGCONT)
	g.AwaitToldOf(t, key, "foreign-edit", fleet.Warning)
	testkit.Eventually(t, settle, "a release by the agent", func() error {
		if got := g.release(t); got[0] != release[0]+1 {
			return fmt.Errorf("release is %d, want %d", got[0], release[0]+1)
		}
		return nil
	})
}

// TestOwnChangesAreNotForeign renews, adds and removes many certificates and
// rotates meanwhile.
func TestOwnChangesAreNotForeign(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, onShared(t, 1, with(listed, Settings{"certificates.keep_replaced": "1s"})))
	for round := range 5 {
		var leaves []Leaf
		var names []string
		for i := range 100 {
			names = append(names, fmt.Sprintf("n%d.test", i))
			leaves = append(leaves, g.ca.Issue(t, 30+round, names[i]))
		}
		epoch := g.Import(t, leaves...)
		g.AwaitFollowed(t, epoch, 102)
		g.Fleet.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
		if round%2 == 1 {
			g.Fleet.CLI(t, append([]string{"cert", "remove", "--yes"}, names[:50]...)...).Want(t, 0)
			g.AwaitReport(t, "half of the names", func(r fleet.Report) error {
				if r.Names != 52 {
					return fmt.Errorf("%d names", r.Names)
				}
				return nil
			})
		}
	}
	g.AwaitNoProblem(t)
	if n := CountLog(g.Agent, "foreign edit"); n > 0 {
		t.Errorf("%d foreign edits were found in own changes:\n%s", n, g.Agent.Log())
	}
}

// TestHandMadeEntriesThatNginxLoadsStay keeps nginx able to start.
func TestHandMadeEntriesThatNginxLoadsStay(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, onShared(t, 1, open))
	hand := g.live + "/hand.test"
	g.EditNginx(t, "\tserver {", fmt.Sprintf("\tserver {\n\t\tlisten %s ssl;\n\t\tserver_name hand.test;\n\t\tssl_certificate %s/fullchain.pem;\n\t\tssl_certificate_key %s/privkey.pem;\n\t}\n\tserver {",
		g.Nginx.TLSAddrs[0], hand, hand))
	if err := os.Symlink(g.bundle(t, "b-guard.test"), hand); err != nil {
		t.Fatal(err)
	}
	data := g.live + "/data.test"
	if err := errors.Join(os.Mkdir(data, 0o755), put(data+"/precious", "x")); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, settle, "the folder of others to be moved", func() error {
		if _, err := os.Lstat(data); err == nil {
			return errors.New("it is there")
		}
		return nil
	})
	if kept, err := filepath.Glob(g.state + "/foreign/*/data.test/precious"); err != nil || len(kept) != 1 {
		t.Errorf("files set aside = %v, %v, want one", kept, err)
	}
	g.AwaitToldOf(t, "data.test", "foreign-edit", fleet.Warning)
	AwaitLog(t, g.Agent, "foreign edit", hand, "left: nginx loads it")
	if err := g.Nginx.Test(t); err != nil {
		t.Errorf("nginx -t = %v, want nil", err)
	}
	if _, err := os.Lstat(hand); err != nil {
		t.Error(err)
	}
}
