package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// TestAgentStartsWithConsulAway restarts agent and nginx while Consul cannot
// be reached, then lets it come back with news.
func TestAgentStartsWithConsulAway(t *testing.T) {
	t.Parallel()
	o := onShared(t, 2, listed)
	proxy := testkit.FaultProxy(t, o.Consul.Addr)
	o.Node = func(i int) Settings {
		return Settings{"consul.address": []string{o.Consul.Addr, proxy.Addr}[i]}
	}
	f, ca := newCertFleet(t, o), newCA(t)
	n := f.Nodes[1]
	before := n.release(t)
	a, wild := ca.Issue(t, 30, "a-away.test"), ca.Issue(t, 30, "*.wild.test")
	f.Import(t, a, wild)
	f.AwaitServed(t, ca, "a-away.test", a, f.Nodes...)
	n.AwaitReleased(t, before)
	before = n.release(t)
	breaks(proxy, testkit.Rule{Fault: testkit.Cut})
	n.Agent.Stop(t)
	n.StartAgent(t)
	n.AwaitProblem(t, "consul-unreachable")
	AwaitLog(t, n.Agent, "inventory loaded", "names=2", "waiting=0")
	f.WantServed(t, ca, "with Consul away", "a-away.test", a, n)
	f.WantServed(t, ca, "with Consul away", "b.wild.test", wild, n)
	if got := n.release(t); got != before {
		t.Errorf("release and reloads = %v with Consul away, want %v as before", got, before)
	}
	n.Nginx.Stop(t)
	n.Nginx.Start(t)
	f.WantServed(t, ca, "nginx started with Consul away", "A-away.test", a, n)
	renewed, added := ca.Issue(t, 60, "a-away.test"), ca.Issue(t, 30, "b-away.test")
	epoch := f.Import(t, renewed, added)
	f.WantServed(t, ca, "with Consul away", "a-away.test", a, n)
	breaks(proxy)
	n.AwaitFollowed(t, epoch, 3)
	f.AwaitServed(t, ca, "a-away.test", renewed, f.Nodes...)
	f.AwaitServed(t, ca, "b-away.test", added, f.Nodes...)
	n.AwaitNoProblem(t)
}

// TestAgentKilledDuringAnImport kills an agent that has some of 300 names.
func TestAgentKilledDuringAnImport(t *testing.T) {
	t.Parallel()
	const count = 300
	f, ca := newCertFleet(t, onShared(t, 1, listed)), newCA(t)
	n := f.Nodes[0]
	leaves := make([]Leaf, count)
	for i := range leaves {
		leaves[i] = ca.Issue(t, 30, fmt.Sprintf("n%d.test", i))
	}
	dir := folder(t, leaves...)
	done := make(chan Result, 1)
	go func() { done <- f.CLI(t, "cert", "import", dir) }()
	testkit.Eventually(t, settle, "the first names", func() error {
		if len(n.live(t)) == 0 {
			return fmt.Errorf("there are none")
		}
		return nil
	})
	n.Agent.Kill(t)
	t.Logf("killed with %d of %d names", len(n.live(t)), count)
	(<-done).Want(t, 0)
	if err := n.Nginx.Test(t); err != nil {
		t.Error(err)
	}
	n.StartAgent(t)
	testkit.Eventually(t, settle, "all names", func() error {
		if got := n.live(t); len(got) != count {
			return fmt.Errorf("%d are there", len(got))
		}
		return nil
	})
	n.AwaitNoProblem(t)
	for _, l := range []Leaf{leaves[0], leaves[count-1]} {
		f.AwaitServed(t, ca, strings.ToUpper(l.Names[0]), l, n)
	}
	for _, l := range leaves {
		f.AwaitServed(t, ca, l.Names[0], l, n)
	}
	r := f.CLI(t, "cert", "list", "--format", "json").Want(t, 0)
	if got := strings.Count(r.Stdout, `"name"`); got != count {
		t.Errorf("cert list has %d names, want %d", got, count)
	}
}
