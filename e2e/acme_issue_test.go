package e2e

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// TestADomainIsObtainedServedAndRenewed takes names through the whole path:
// asked for, proved by the node they lead to, served by all, renewed.
func TestADomainIsObtainedServedAndRenewed(t *testing.T) {
	t.Parallel()
	leaders := filepath.Join(t.TempDir(), "leaders")
	if _, err := seal.Create(leaders); err != nil {
		t.Fatal(err)
	}
	a := newACMEFleet(t, onShared(t, 3, Settings{"leader.keyring_file": leaders}))
	before := a.releases(t)
	shop, blog := "shop.test", "blog.test"
	for i, name := range []string{shop, blog} {
		a.leadTo(t, a.Nodes[i+1], name)
	}
	a.pebble.SetAddress(t, "elsewhere.test", "127.0.0.99") // nobody is there
	began := time.Now()
	a.Add(t, shop, blog, "elsewhere.test")
	a.AwaitIssued(t, shop, "", a.Nodes...)
	t.Logf("%s is served by all nodes after %s", shop, time.Since(began).Round(time.Millisecond))
	first := a.AwaitIssued(t, blog, "", a.Nodes...)
	if _, _, err := a.loadKeyring(t).Open(a.Name, a.path("acme/account"), a.take(t, a.path("acme/account"))); !errors.Is(err, seal.ErrUnknownKey) {
		t.Errorf("the account key opens with the fleet's keyring: %v, want %v", err, seal.ErrUnknownKey)
	}
	d := a.AwaitDomain(t, "elsewhere.test", issuance.Waiting)
	if d.Failure == nil || d.Failure.Stage != issuance.StagePreflight || d.Failure.Class != issuance.Recoverable {
		t.Errorf("the failure of a name that leads elsewhere = %+v, want one of the preflight", d.Failure)
	}
	if n := a.pebble.Counts(t).Orders; n != 2 {
		t.Errorf("the CA has made %d orders, want 2: none for a name that leads elsewhere", n)
	}

	a.CLI(t, "domain", "renew", blog).Want(t, 0)
	a.AwaitIssued(t, blog, first.Serial, a.Nodes...)
	if n := a.pebble.Counts(t).Orders; n != 3 {
		t.Errorf("the CA has made %d orders, want 3: one of them for the renewal", n)
	}
	if after := a.releases(t); !maps.Equal(after, before) {
		t.Errorf("releases and reloads = %v, want %v as before the first certificate", after, before)
	}
}

// TestChallengesAreAnsweredByNginxAlone takes the agents away one by one, and
// then Consul.
func TestChallengesAreAnsweredByNginxAlone(t *testing.T) {
	t.Parallel()
	a := newACMEFleet(t, FleetOptions{})
	leader := a.Leader(t)
	for _, n := range a.Nodes {
		if n != leader {
			n.Agent.Stop(t)
		}
	}
	for i, n := range a.Nodes {
		name := fmt.Sprintf("n%d.test", i)
		a.leadTo(t, n, name)
		a.Add(t, name)
		a.AwaitIssued(t, name, "", leader)
	}
	leader.Agent.Stop(t)
	a.Consul.Stop(t)
	for _, n := range a.Nodes {
		if err := a.answers(t, n); err != nil {
			t.Errorf("without any agent and without Consul: %v", err)
		}
		n.Nginx.Stop(t)
		n.CLI(t, "restore", "--wait", "1s").Want(t, 0)
		n.Nginx.Start(t)
		if err := a.answers(t, n); err != nil {
			t.Errorf("after a restart of nginx without Consul: %v", err)
		}
	}
}

// TestChallengesAreAnsweredByAgents has each name lead to another node, so that
// the CA asks agents that do not lead, and takes one agent away.
func TestChallengesAreAnsweredByAgents(t *testing.T) {
	t.Parallel()
	a := newACMEFleet(t, onShared(t, 3, Settings{"acme.http01": "agent", "acme.preflight_nodes": true}))
	var names []string
	for i, n := range a.Nodes {
		names = append(names, fmt.Sprintf("n%d.test", i))
		a.leadTo(t, n, names[i])
	}
	a.Add(t, names...)
	for _, name := range names {
		a.AwaitIssued(t, name, "", a.Nodes...)
	}
	if keys := a.keys(t, "acme/challenges/"); len(keys) > 0 {
		t.Errorf("challenges that are over stay in Consul: %q", keys)
	}
	// Where no agent answers, the preflight fails and the CA is not asked.
	leader := a.Leader(t)
	for _, n := range a.Nodes {
		if n != leader {
			orders := a.pebble.Counts(t).Orders
			n.Agent.Kill(t)
			a.leadTo(t, n, "late.test")
			a.Add(t, "late.test")
			d := a.AwaitDomain(t, "late.test", issuance.Waiting)
			if d.Failure.Stage != issuance.StagePreflight || !strings.Contains(d.Failure.Detail, "502") {
				t.Errorf("the failure without an agent = %+v, want one of the preflight with 502", d.Failure)
			}
			if now := a.pebble.Counts(t).Orders; now != orders {
				t.Errorf("the CA has made %d orders, want %d", now, orders)
			}
			n.StartAgent(t)
			break
		}
	}
	testkit.Eventually(t, settle, "the agent to answer again", func() error {
		for _, n := range a.Nodes {
			if err := a.answers(t, n); err != nil {
				return err
			}
		}
		return nil
	})
	a.CLI(t, "domain", "retry", "late.test").Want(t, 0)
	a.AwaitIssued(t, "late.test", "", a.Nodes...)
}

// keys are the keys in Consul below a path of the fleet.
func (f *Fleet) keys(t *testing.T, path string) []string {
	t.Helper()
	keys, _, err := f.Consul.Client(t).KV().Keys(f.path(path), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// TestKilledLeaderObtainsEachCertificateOnce kills the leader in the middle of
// its work.
func TestKilledLeaderObtainsEachCertificateOnce(t *testing.T) {
	t.Parallel()
	a := newACMEFleet(t, onShared(t, 3, Settings{"acme.parallel": 3, "leader.ttl": leaderTTL.String()}))
	const n = 30
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("n%d.test", i))
		a.leadTo(t, a.Nodes[i%len(a.Nodes)], names[i])
	}
	leader := a.Leader(t)
	a.Add(t, names...)
	testkit.Eventually(t, settle, "orders", func() error {
		if a.pebble.Counts(t).Orders < n/3 {
			return errors.New("too few")
		}
		return nil
	})
	leader.Agent.Kill(t)
	if a.pebble.Counts(t).Orders >= n {
		t.Fatalf("the leader had begun all %d orders when it was killed: the test shows nothing", n)
	}
	for _, name := range names {
		a.AwaitDomain(t, name, issuance.Issued)
	}
	leader.StartAgent(t)
	for _, name := range names {
		a.AwaitIssued(t, name, "", a.Nodes...)
	}
	want := testkit.PebbleCounts{Accounts: 1, Orders: n, Certificates: n}
	if got := a.pebble.Counts(t); got != want {
		t.Errorf("the CA has made %+v, want %+v", got, want)
	}
}
