package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// outage is longer than every session and lease of a fleet lasts.
const outage = 60 * time.Second

func TestConsulAwayForAMinute(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Nodes: 2, Consul: testkit.Consul(t, testkit.ConsulSessionTTLMin(time.Second))})
	before := []held{f.Nodes[0].Held(t), f.Nodes[1].Held(t)}
	var tickets []Ticket
	for _, n := range f.Nodes {
		tickets = append(tickets, n.TakeTickets(t)...)
	}
	f.Consul.Stop(t)
	begin := time.Now()
	for _, n := range f.Nodes {
		WantProblem(t, n.AwaitProblem(t, "consul-unreachable"), fleet.Warning, "ring")
	}
	testkit.Eventually(t, outage+settle, "the end of the outage", func() error {
		if left := outage - time.Since(begin); left > 0 {
			return fmt.Errorf("%s are left", left)
		}
		return nil
	})
	for i, n := range f.Nodes {
		n.WantHeld(t, "after a minute without Consul", before[i])
	}
	WantResumed(t, true, "after a minute without Consul", tickets, f.Nodes...)
	f.Consul.Start(t)
	f.AwaitBack(t, 1)
}

// TestConsulLosesEverything gives the agents an empty Consul in the place of
// the one they knew.
func TestConsulLosesEverything(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Nodes: 2})
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	before := f.Nodes[1].Held(t)
	f.Consul.Stop(t)
	f.Nodes[1].AwaitProblem(t, "consul-unreachable")
	f.Consul.Start(t)
	f.AwaitProved(t, 2)
	f.Nodes[1].WantHeld(t, "with an empty Consul", before)
	f.AwaitBack(t, 2)
}

// AwaitBack waits until all nodes are in the catalog, healthy and without a
// problem, and then rotates once from epoch.
func (f *Fleet) AwaitBack(t *testing.T, epoch uint64) {
	t.Helper()
	f.AwaitProved(t, epoch)
	testkit.Eventually(t, settle, "healthy nodes in the catalog", func() error {
		entries, _, err := f.Consul.Client(t).Health().Service("tlsfleet", f.Name, true, nil)
		if err == nil && len(entries) != len(f.Nodes) {
			err = fmt.Errorf("%d of %d are healthy", len(entries), len(f.Nodes))
		}
		return err
	})
	for _, n := range f.Nodes {
		n.AwaitNoProblem(t)
	}
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	if s := f.Status(t); s.Epoch != epoch+1 {
		t.Errorf("epoch = %d after one rotation, want %d", s.Epoch, epoch+1)
	}
}

// behindProxy is a fleet of two whose second node has a proxy before its
// Consul that can break answers.
func behindProxy(t *testing.T, settings Settings) (*Fleet, *Node, *testkit.Proxy) {
	t.Helper()
	o := onShared(t, 2, nil)
	proxy := testkit.FaultProxy(t, o.Consul.Addr)
	o.Node = func(i int) Settings {
		if i == 0 {
			return nil
		}
		s := Settings{"consul.address": proxy.Addr}
		for k, v := range settings {
			s[k] = v
		}
		return s
	}
	f := NewFleet(t, o)
	return f, f.Nodes[1], proxy
}

// breaks sets the rules and ends the queries that block.
func breaks(p *testkit.Proxy, rules ...testkit.Rule) {
	p.Set(rules...)
	p.CutAll()
}

// TestConsulThatFailsIsAskedLessAndLess counts each question by itself: how many
// there are depends on who leads.
func TestConsulThatFailsIsAskedLessAndLess(t *testing.T) {
	t.Parallel()
	const while, most = 8 * time.Second, 20
	tests := map[string]testkit.Fault{
		"500":     testkit.Status(http.StatusInternalServerError),
		"429":     testkit.Status(http.StatusTooManyRequests),
		"cut off": testkit.Cut,
	}
	for name, fault := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, n, proxy := behindProxy(t, nil)
			before := n.Held(t)
			breaks(proxy, testkit.Rule{Fault: fault})
			n.AwaitProblem(t, "consul-unreachable")
			begin, first := time.Now(), proxy.Counts()
			testkit.Eventually(t, while+settle, "some requests", func() error {
				if time.Since(begin) < while {
					return errors.New("not long enough")
				}
				return nil
			})
			all := 0
			for question, times := range proxy.Counts() {
				times -= first[question]
				if all += times; times > most {
					t.Errorf("a failing Consul was asked %s %d times in %s, want at most %d", question, times, while, most)
				}
			}
			if t.Logf("a failing Consul was asked %d times in %s", all, while); all < 3 {
				t.Errorf("a failing Consul was asked %d times in %s, want 3 at least", all, while)
			}
			n.WantHeld(t, "with a failing Consul", before)
			breaks(proxy)
			f.AwaitBack(t, 1)
		})
	}
}

func TestRingThatCannotBeSeenIsKept(t *testing.T) {
	t.Parallel()
	tests := map[string]testkit.Fault{
		"not found":  testkit.NotFound,
		"empty list": testkit.EmptyList,
		"null":       testkit.Body("null"),
	}
	f, n, proxy := behindProxy(t, nil)
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	before := n.Held(t)
	start := func() { n.StartAgent(t) } // for longer than one subtest
	for name, fault := range tests {
		t.Run(name, func(t *testing.T) {
			breaks(proxy, testkit.Rule{Path: "/v1/kv/" + f.ringPath(), Fault: fault})
			WantProblem(t, n.AwaitProblem(t, "ring-missing"), fleet.Alarm, "epoch 2")
			n.WantHeld(t, "with no ring to be seen", before)
			n.Agent.Stop(t)
			start()
			n.AwaitProblem(t, "ring-missing")
			n.WantHeld(t, "after a start with no ring to be seen", before)
			breaks(proxy)
			f.AwaitProved(t, 2)
			n.AwaitNoProblem(t)
		})
	}
	if s := f.Status(t); s.Epoch != 2 {
		t.Errorf("epoch = %d, want 2: nobody may write because of what one node cannot see", s.Epoch)
	}
}

// TestLeaderThatCannotSeeTheRingDoesNotHammer shows the leader no ring, so that
// it tries to write its own again and again, in vain.
func TestLeaderThatCannotSeeTheRingDoesNotHammer(t *testing.T) {
	t.Parallel()
	o := onShared(t, 2, nil)
	proxy := testkit.FaultProxy(t, o.Consul.Addr)
	o.Node = func(i int) Settings {
		return Settings{"leader.eligible": i == 1, "consul.address": []string{o.Consul.Addr, proxy.Addr}[i]}
	}
	f := NewFleet(t, o)
	record := f.StoredRing(t)
	breaks(proxy, testkit.Rule{Path: "/v1/kv/" + f.ringPath(), Fault: testkit.NotFound})
	f.Nodes[1].AwaitProblem(t, "ring-missing")
	const while, most = 6 * time.Second, 12
	begin, first := time.Now(), proxy.Seen(http.MethodPut, "/v1/txn")
	testkit.Eventually(t, while+settle, "some writes", func() error {
		if time.Since(begin) < while {
			return errors.New("not long enough")
		}
		return nil
	})
	if tried := proxy.Seen(http.MethodPut, "/v1/txn") - first; tried < 1 || tried > most {
		t.Errorf("the leader tried to write %d times in %s, want 1 to %d", tried, while, most)
	}
	if !bytes.Equal(f.StoredRing(t), record) {
		t.Error("the leader has overwritten the ring that it could not see")
	}
	breaks(proxy)
	f.AwaitBack(t, 1)
}

// TestTokenThatMayNotReadTheRing narrows a node's ACL token.
func TestTokenThatMayNotReadTheRing(t *testing.T) {
	t.Parallel()
	consul, token, allow := aclConsul(t)
	f := NewFleet(t, FleetOptions{Nodes: 2, Consul: consul, Node: func(i int) Settings {
		if i == 0 {
			return nil
		}
		return Settings{"consul.token": token, "leader.eligible": false}
	}})
	n := f.Nodes[1]
	before := n.Held(t)
	narrow := func(rules string) {
		t.Helper()
		allow(rules)
		n.Agent.Stop(t) // a query that blocks keeps the rights it began with
		n.StartAgent(t)
	}
	narrow(wideRules + ` key "` + f.ringPath() + `" { policy = "deny" }`)
	WantProblem(t, n.AwaitProblem(t, "ring-denied"), fleet.Alarm, f.ringPath())
	n.WantHeld(t, "with a narrowed token", before)
	narrow(wideRules)
	f.AwaitBack(t, 1)
}

// TestNodeCutOffTooLongUsesKeysOfItsOwn passes stale_after while the node
// cannot reach Consul.
func TestNodeCutOffTooLongUsesKeysOfItsOwn(t *testing.T) {
	t.Parallel()
	f, n, proxy := behindProxy(t, Settings{"ticket.stale_after": "1s", "leader.eligible": false})
	ticket := f.Nodes[0].TakeTickets(t)
	breaks(proxy, testkit.Rule{Fault: testkit.Cut})
	WantProblem(t, n.AwaitProblem(t, "per-host-keys"), fleet.Alarm, "keys of its own")
	if got := n.SealsWith(t); got == f.sealsNow(t) {
		t.Errorf("%s seals with %s, the fleet's key, want another", n.Name, got)
	}
	WantResumed(t, false, "cut off", ticket, n)
	if files := n.KeyFiles(t); len(files) > 0 {
		t.Logf("key files left: %d", len(files))
	}
	breaks(proxy)
	f.AwaitBack(t, 1)
	WantResumed(t, true, "back", ticket, n)
}
