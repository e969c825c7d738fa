package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/handlers"
)

// waveKeys are the keys of waves in Consul.
func (f *Fleet) waveKeys(t *testing.T) []string {
	t.Helper()
	keys, _, err := f.Consul.Client(t).KV().Keys("tlsfleet/"+f.Name+"/waves/", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// switchWaves turns waves on or off on some nodes, and waits until these say so.
func switchWaves(t *testing.T, on bool, nodes ...*Node) {
	t.Helper()
	for _, n := range nodes {
		n.Settings["sites.waves"] = on
		n.WriteConfig(t)
		n.AwaitReport(t, fmt.Sprintf("waves: %t", on), func(r fleet.Report) error {
			if r.Waves != on {
				return errors.New("not yet")
			}
			return nil
		})
	}
}

// TestWavesAreSwitched: without them there is nothing of them, and turning them on
// and off, one node after the other, changes nothing that is served.
func TestWavesAreSwitched(t *testing.T) {
	t.Parallel()
	f, ca := newSiteFleet(t, onShared(t, 2, with(listed, Settings{"sites.waves": false}))), newCA(t)
	f.Import(t, ca.Issue(t, 30, "shop.test"))
	set := func(word string) {
		t.Helper()
		f.CLI(t, "site", "set", setFile(t, siteTo("shop", "shop.test", backendThat(t, word), "")), "--wait", "--timeout", "90s").Want(t, 0)
		for _, n := range f.Nodes {
			if w, err := n.Greet(t, ca, Hello{SNI: "shop.test"}); err != nil || !strings.Contains(w.Answer, "backend "+word+".") {
				t.Errorf("answer of %s after site set --wait = %.200q, %v, want that of %s", n.Name, w.Answer, err, word)
			}
		}
	}
	set("A")
	if keys := f.waveKeys(t); len(keys) > 0 {
		t.Errorf("keys of a fleet without waves = %q, want none", keys)
	}
	reloads := []int{f.Nodes[0].Reloads(), f.Nodes[1].Reloads()}
	same := func(when string, epoch uint64) {
		t.Helper()
		for i, n := range f.Nodes {
			n.AwaitSites(t, epoch)
			n.AwaitNoProblem(t)
			if got := n.Reloads(); got != reloads[i] {
				t.Errorf("%s has reloaded %d times %s, want %d as before", n.Name, got, when, reloads[i])
			}
		}
	}

	first := f.Nodes[0]
	first.Agent.Stop(t)
	first.Settings["sites.waves"] = true
	first.WriteConfig(t)
	p := first.Plan(t, 0)
	if p.want(t, "with waves before there is a record", PlanCount{}); !strings.Contains(fmt.Sprint(p.Problems), "sites-unled") {
		t.Errorf("problems of the plan = %+v, want that no leader has said which sites are for the node", p.Problems)
	}
	first.StartAgent(t)
	switchWaves(t, true, first)
	f.AwaitWave(t, "a record for the node that has waves", func(w handlers.Wave) bool { return w.Epoch == 1 && w.State == handlers.WaveRolled })
	same("for waves on one node", 1)
	switchWaves(t, true, f.Nodes[1])
	same("for waves", 1)
	for _, n := range f.Nodes {
		if log := n.Agent.Log(); strings.Contains(log, "own copy of") {
			t.Errorf("%s could not open its own copies with waves", n.Name)
		}
	}
	set("B")
	f.wantCanaryFirst(t, f.AwaitWave(t, "the second epoch", func(w handlers.Wave) bool { return w.Epoch == 2 && w.State == handlers.WaveRolled }))
	reloads = []int{f.Nodes[0].Reloads(), f.Nodes[1].Reloads()}

	switchWaves(t, false, f.Nodes...)
	same("without waves again", 2)
	set("C")
	reloads = []int{f.Nodes[0].Reloads(), f.Nodes[1].Reloads()}
	switchWaves(t, true, f.Nodes...)
	f.AwaitWave(t, "the record kept up", func(w handlers.Wave) bool { return w.Epoch == 3 && w.State == handlers.WaveRolled })
	same("with waves again", 3)
}

// TestKeyringIsRotatedInAWave: what is pinned and what nodes keep of it comes under
// the new key, and whoever has that alone goes on with it, a new node too.
func TestKeyringIsRotatedInAWave(t *testing.T) {
	t.Parallel()
	f := idleKeyringFleet(t, onShared(t, 3, with(listed, Settings{"sites.prove_within": "5m"})))
	late := f.Nodes[2]
	f.Nodes = f.Nodes[:2]
	f.startAll(t)
	f.AwaitProved(t, 1)
	k := &keyringFleet{Fleet: f, ca: newCA(t)}
	f.Import(t, k.ca.Issue(t, 30, "shop.test"))
	f.CLI(t, "site", "set", setFile(t, siteTo("shop", "shop.test", backendThat(t, "A"), "")), "--wait").Want(t, 0)
	first, file := f.Nodes[0], f.Nodes[0].Settings["keyring_file"].(string) //nolint:errcheck,forcetypeassert // it was set
	old := ringOf(t, first)
	goOn := f.holdSlot(t)
	before, canary := f.beginWave(t, backendThat(t, "B"))
	if code := k.finishRotation(t, file); code != 0 {
		t.Fatal("the rotation did not end")
	}
	next := ringOf(t, first).Sealing()
	f.Await(t, "every record sealed with the new key", func(Status) error {
		if count, opened := f.sealedWith(t, old); len(count) != 1 || count[next] == 0 || len(opened) > 0 {
			return fmt.Errorf("records by key = %v, the old keyring opens %v, want all under %s", count, opened, next)
		}
		return nil
	})
	if s, err := f.sitesState(t); err != nil || s.Wave.Epoch != 2 || s.Wave.State != handlers.WaveCanary || !slices.Equal(s.Wave.Canaries, before.Canaries) {
		t.Errorf("wave after the rotation = %+v, %v, want it as it was: %+v", s.Wave, err, before)
	}
	canary.Agent.Kill(t)
	canary.StartAgent(t)
	goOn()
	w := f.AwaitWave(t, "the sites everywhere", func(w handlers.Wave) bool { return w.Ended() })
	if w.State != handlers.WaveRolled || w.Epoch != 2 {
		t.Fatalf("wave = %+v, want epoch 2 rolled out", w)
	}
	f.AwaitAnswer(t, k.ca, "shop.test", f.Nodes, "backend B.")
	f.CLI(t, "site", "retry", "--wait").Want(t, 0)

	f.give(t, file, late)
	f.Nodes = append(f.Nodes, late)
	late.Nginx.Start(t)
	late.StartAgent(t)
	f.AwaitAnswer(t, k.ca, "shop.test", f.Nodes, "backend B.")
	for _, n := range f.Nodes {
		n.AwaitSites(t, 3)
		n.AwaitNoProblem(t)
		if log := n.Agent.Log(); strings.Contains(log, "own copy of") || strings.Contains(log, "own copies of") {
			t.Errorf("%s could not open its own copies with the new keyring", n.Name)
		}
	}
	testkit.Eventually(t, settle, "nothing under another key", func() error {
		if count, _ := f.sealedWith(t, old); len(count) != 1 {
			return fmt.Errorf("records by key = %v", count)
		}
		return nil
	})
}
