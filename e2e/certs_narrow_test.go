package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// wideRules let a node do all it does.
const wideRules = `key_prefix "tlsfleet/" { policy = "write" } session_prefix "" { policy = "write" }
	service_prefix "" { policy = "write" } node_prefix "" { policy = "read" } agent_prefix "" { policy = "read" } event_prefix "" { policy = "read" } `

// aclConsul is a Consul that denies by default, a token for a node, and how to
// change its rights. A query that blocks keeps the rights it began with.
func aclConsul(t *testing.T) (consul *testkit.ConsulServer, token string, allow func(rules string)) {
	t.Helper()
	consul = testkit.Consul(t, testkit.ConsulACL(), testkit.ConsulDev(), testkit.ConsulSessionTTLMin(time.Second))
	acl := consul.Client(t).ACL()
	policy, _, err := acl.PolicyCreate(&api.ACLPolicy{Name: "node", Rules: wideRules}, nil)
	if err != nil {
		t.Fatal(err)
	}
	made, _, err := acl.TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{ID: policy.ID}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return consul, made.SecretID, func(rules string) {
		t.Helper()
		if _, _, err := acl.PolicyUpdate(&api.ACLPolicy{ID: policy.ID, Name: "node", Rules: rules}, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNarrowedTokenRemovesNoCertificates takes parts of the inventory out of
// the sight of one node, while a name is renewed and another one removed.
func TestNarrowedTokenRemovesNoCertificates(t *testing.T) {
	t.Parallel()
	const victim = "victim.test"
	consul, token, allow := aclConsul(t)
	f, ca := newCertFleet(t, FleetOptions{Nodes: 2, Consul: consul, Settings: open, Node: func(i int) Settings {
		return []Settings{nil, {"consul.token": token, "leader.eligible": false}}[i]
	}}), newCA(t)
	n := f.Nodes[1]
	deny := func(path ...string) string {
		return fmt.Sprintf("key_prefix %q { policy = \"deny\" }\n", f.path(path...))
	}
	tests := map[string]struct {
		rules      string
		code, says string
		running    bool // the token loses its rights under a running agent
		sees       bool // the tombstone of the name that is removed
	}{
		"head":                    {deny("inventory", "head"), "inventory-denied", "inventory/head", false, false},
		"shards":                  {deny("inventory", "shards"), "shard-" + shardOf(victim) + "-refused", "shards/" + shardOf(victim), false, false},
		"shards, while it runs":   {deny("inventory", "shards"), "shard-" + shardOf(victim) + "-refused", "shards/" + shardOf(victim), true, false},
		"bundles":                 {deny("bundles"), "certificate-denied", victim, false, true},
		"bundles, while it runs":  {deny("bundles"), "certificate-denied", victim, true, true},
		"all of the certificates": {deny("inventory") + deny("bundles") + deny("chains"), "inventory-denied", "inventory/head", false, false},
	}
	days := 30
	kept := ca.Issue(t, days, victim)
	f.Import(t, kept)
	start := func() { n.StartAgent(t) } // for longer than one subtest
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { allow(wideRules) })
			days++
			renewed, gone := ca.Issue(t, days, victim), ca.Issue(t, days, fmt.Sprintf("gone%d.test", days))
			f.Import(t, gone)
			f.AwaitServed(t, ca, gone.Names[0], gone, n)
			f.AwaitServed(t, ca, victim, kept, n)
			if !tt.running {
				n.Agent.Stop(t)
			}
			allow(wideRules + tt.rules)
			f.Import(t, renewed)
			f.CLI(t, "cert", "remove", gone.Names[0], "--yes").Want(t, 0)
			if !tt.running {
				start()
			}
			WantProblem(t, n.AwaitProblem(t, tt.code), fleet.Alarm, tt.says)
			f.AwaitServed(t, ca, victim, renewed, f.Nodes[0])
			f.WantServed(t, ca, "with a narrowed token", victim, kept, n)
			if !tt.sees {
				f.WantServed(t, ca, "with a narrowed token", gone.Names[0], gone, n)
			}
			n.Agent.Stop(t)
			allow(wideRules)
			start()
			f.AwaitServed(t, ca, victim, renewed, n)
			f.AwaitRefused(t, ca, gone.Names[0], n)
			n.AwaitNoProblem(t)
			kept = renewed
		})
	}
}
