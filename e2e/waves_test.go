package e2e

import (
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/handlers"
)

// TestSitesGoInWaves: a site goes to one node first and then to all; what that
// node cannot serve goes nowhere, unless somebody wants it now, and holds up no other,
// not even of the same file, once that is set again.
func TestSitesGoInWaves(t *testing.T) {
	t.Parallel()
	f, ca := newSiteFleet(t, onShared(t, 2, listed)), newCA(t)
	f.Import(t, ca.Issue(t, 30, "shop.test", "blog.test"))
	f.put(t, "snippets", "broken.conf", "\nno_such_directive on;\n")
	a := backendThat(t, "A")
	closed := net.JoinHostPort("127.0.0.1", fmt.Sprint(testkit.FreePort(t, "127.0.0.1")))
	set := func(code int, text string, args ...string) Result {
		t.Helper()
		return f.CLI(t, append([]string{"site", "set", setFile(t, text), "--wait", "--timeout", "90s"}, args...)...).Want(t, code)
	}
	halted := func(r Result, base uint64, why ...string) {
		t.Helper()
		s, err := f.sitesState(t)
		if err != nil || s.Wave.State != handlers.WaveHalted || s.Wave.Base != base || len(s.Wave.Canaries) != 1 {
			t.Fatalf("wave = %+v, %v, want it halted, back to epoch %d", s.Wave, err, base)
		}
		status := f.CLI(t, "status").Stdout
		for _, word := range append(why, s.Wave.Canaries[0]) {
			if !strings.Contains(r.Stderr, word) || !strings.Contains(status, word) {
				t.Errorf("%s and status do not tell %q", r.Stderr, word)
			}
		}
		for _, n := range f.Nodes {
			n.AwaitSites(t, base)
			if n.Name != s.Wave.Canaries[0] && !saidAt(t, n, "sites read", fmt.Sprintf("epoch=%d ", s.Wave.Epoch)).IsZero() {
				t.Errorf("%s has read the sites at epoch %d, want the canary %s only", n.Name, s.Wave.Epoch, s.Wave.Canaries[0])
			}
		}
		WantProblem(t, f.Leader(t).AwaitProblem(t, "wave-halted"), fleet.Alarm, why...)
	}
	halted(set(1, siteTo("shop", "shop.test", a, `snippets = ["broken.conf"]`)), 0,
		"no node serves it", "site shop", "no_such_directive", "broken.conf:2")

	set(0, siteTo("shop", "shop.test", a, "")+siteTo("late", "late.test", a, "")+siteOn("empty", "blog.test", f.Name+"-none"))
	f.wantCanaryFirst(t, f.AwaitWave(t, "the first sites everywhere", func(w handlers.Wave) bool { return w.State == handlers.WaveRolled }))
	f.AwaitAnswer(t, ca, "shop.test", f.Nodes, "backend A.")

	noAnswer, b := siteTo("empty", "blog.test", closed, ""), siteTo("shop", "shop.test", backendThat(t, "B"), "")
	halted(set(1, noAnswer+b), 2, "every node serves epoch 2", "site empty", "502")
	f.AwaitAnswer(t, ca, "blog.test", f.Nodes, "503 Service")
	f.AwaitAnswer(t, ca, "shop.test", f.Nodes, "backend A.")
	if r := set(1, noAnswer+b); !strings.Contains(r.Stdout, "once more: shop\n") || !strings.Contains(r.Stderr, "as they were: empty") {
		t.Errorf("%s does not tell what goes on and what stays", r)
	}
	f.AwaitAnswer(t, ca, "shop.test", f.Nodes, "backend B.")
	f.AwaitAnswer(t, ca, "blog.test", f.Nodes, "503 Service")
	WantProblem(t, f.Leader(t).AwaitProblem(t, "sites-out"), fleet.Alarm, "empty")
	if r := f.CLI(t, "status"); !strings.Contains(r.Stdout, "as they were: empty") {
		t.Errorf("%s does not tell which site stays as it was", r)
	}
	broken, c := siteTo("empty", "blog.test", a, `snippets = ["broken.conf"]`), siteTo("shop", "shop.test", backendThat(t, "C"), "")
	halted(set(1, broken+c), 4, "every node serves epoch 4", "site empty", "no_such_directive")
	set(0, c, "--now")
	f.AwaitAnswer(t, ca, "shop.test", f.Nodes, "backend C.")
	f.AwaitAnswer(t, ca, "blog.test", f.Nodes, "503 Service")
	WantProblem(t, f.Leader(t).AwaitProblem(t, "sites-out"), fleet.Alarm, "empty")
	halted(set(1, broken), 6, "every node serves epoch 6", "site empty", "no_such_directive")
	halted(set(1, noAnswer), 6, "every node serves epoch 6", "site empty", "502")
	set(0, noAnswer, "--now")
	f.AwaitAnswer(t, ca, "blog.test", f.Nodes, "502 Bad")
	set(0, siteTo("empty", "blog.test", closed, "websocket = true")) // it was so before
	f.CLI(t, "site", "remove", "empty", "--yes", "--wait").Want(t, 0)
	f.AwaitAnswer(t, ca, "shop.test", f.Nodes, "backend C.")
	// That it has no certificate yet excuses nothing else.
	halted(set(1, siteTo("soon", "soon.test", a, `snippets = ["missing.conf"]`)), 11, "every node serves epoch 11", "site soon", "missing.conf")
}

// TestCanaryKilledInItsTrial: another node takes its place and proves the sites,
// and it serves them when it is back.
func TestCanaryKilledInItsTrial(t *testing.T) {
	t.Parallel()
	f, ca, leader := newWaveFleet(t, Settings{"sites.prove_within": "20s"})
	backend, asked, goOn := heldBackend(t, "B")
	_, canary := f.beginWave(t, backend)
	select {
	case <-asked:
	case <-time.After(3 * settle):
		t.Fatal("nobody has looked at the site")
	}
	canary.Agent.Kill(t)
	leader.Drain(t, false)
	goOn()
	w := f.AwaitWave(t, "the sites everywhere", func(w handlers.Wave) bool { return w.Ended() })
	if w.State != handlers.WaveRolled || w.Epoch != 2 || w.Base != 1 || !slices.Equal(w.Spent, []string{canary.Name}) {
		t.Fatalf("wave = %+v, want epoch 2 rolled out without the canary %s", w, canary.Name)
	}
	for _, n := range f.Nodes {
		if n != canary {
			n.AwaitSites(t, 2)
		}
	}
	f.wantCanaryFirst(t, w)
	canary.StartAgent(t)
	canary.AwaitSites(t, 2)
	f.AwaitAnswer(t, ca, "shop.test", f.Nodes, "backend B.")
}

// TestLeaderKilledInAWave: the next leader goes on from the record, with the same
// canary, and does nothing that it does not say.
func TestLeaderKilledInAWave(t *testing.T) {
	t.Parallel()
	f, ca, leader := newWaveFleet(t, Settings{"sites.prove_within": "5m"})
	goOn := f.holdSlot(t)
	before, canary := f.beginWave(t, backendThat(t, "B"))
	leader.Agent.Kill(t)
	f.depose(t)
	testkit.Eventually(t, 4*settle, "another leader", func() error {
		s, err := f.TryStatus(t)
		if err == nil && (s.Leader == "" || s.Leader == leader.Name) {
			err = fmt.Errorf("leader is %q", s.Leader)
		}
		return err
	})
	next := f.Leader(t)
	AwaitLog(t, next.Agent, "leading:")
	other := f.Nodes[slices.IndexFunc(f.Nodes, func(n *Node) bool { return n != leader && n != canary })]
	for n, want := range map[*Node]PlanCount{canary: {Reload: 1}, other: {}} {
		p := n.Plan(t, 0)
		p.want(t, "of "+n.Name, want)
		if told := strings.Contains(fmt.Sprint(p.Problems), "sites-not-yet"); told != (n == other) {
			t.Errorf("%s tells that the sites are not for it: %t, problems %+v", n.Name, told, p.Problems)
		}
	}
	if s, err := f.sitesState(t); err != nil || !reflect.DeepEqual(*s.Wave, before) {
		t.Errorf("wave under the next leader = %+v, %v, want it as it was: %+v", s.Wave, err, before)
	}
	goOn()
	w := f.AwaitWave(t, "the sites everywhere", func(w handlers.Wave) bool { return w.Ended() })
	if w.State != handlers.WaveRolled || w.Epoch != 2 || !slices.Equal(w.Canaries, before.Canaries) {
		t.Fatalf("wave = %+v, want epoch 2 rolled out by the canary %s", w, canary.Name)
	}
	other.AwaitSites(t, 2)
	leader.StartAgent(t)
	leader.AwaitSites(t, 2)
	f.wantCanaryFirst(t, w)
	f.AwaitAnswer(t, ca, "shop.test", f.Nodes, "backend B.")
}
