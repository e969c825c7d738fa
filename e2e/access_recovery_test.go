package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/store"
)

// widened makes a token with the rules of one that was made and more of them, and
// returns the file that holds it.
func (g closed) widened(t *testing.T, name, rules string) string {
	t.Helper()
	own, err := os.ReadFile(filepath.Join(g.dir, name+".hcl"))
	if err != nil {
		t.Fatal(err)
	}
	acl := g.server.Client(t).ACL()
	if _, _, err := acl.PolicyCreate(&api.ACLPolicy{Name: name + "-widened", Rules: string(own) + rules}, nil); err != nil {
		t.Fatal(err)
	}
	token, _, err := acl.TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{Name: name + "-widened"}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(g.dir, name+"-widened.token")
	if err := os.WriteFile(file, []byte(token.SecretID), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// sendAway does what comes before a node is revoked: it stops, Consul
// forgets its service, and its token ends.
func (g closed) sendAway(t *testing.T, n *Node, i int, token string) {
	t.Helper()
	n.Agent.Stop(t)
	n.Nginx.Stop(t)
	acl := g.server.Client(t).ACL()
	own, _, err := acl.TokenReadSelf(&api.QueryOptions{Token: readToken(t, g, token)})
	if err == nil {
		err = g.members[i].Client(t).Agent().ServiceDeregister(n.ServiceID())
	}
	if err == nil {
		_, err = acl.TokenDelete(own.AccessorID, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestRecoveryUnderLeastPrivilege does with a fleet under access control what is
// done rarely, each with the token that the documentation names: sites with a
// service, admission and revocation, rotations of both keyrings, and the way back
// from a copy when Consul has lost the fleet. Nothing may be denied.
func TestRecoveryUnderLeastPrivilege(t *testing.T) {
	t.Parallel()
	g := newClosed(t, 3)
	dir := t.TempDir()
	leaders := filepath.Join(dir, "leaders")
	runToEnd(t, nil, "", binary(t), "keyring", "init", "--leader", "--file", leaders).Want(t, 0)
	a := g.fleet(t, FleetOptions{
		Settings: Settings{`archive "disk".directory`: filepath.Join(dir, "archive"), "leader.keyring_file": leaders},
		Operator: Settings{"keyring.operator_key_file": filepath.Join(dir, "operator.key")},
	}, "--service", "web")
	first, last := a.Nodes[0], a.Nodes[2]

	own := newCA(t)
	a.Import(t, own.Issue(t, 30, "shop.test"))
	a.leadTo(t, last, "obtained.test")
	a.Add(t, "obtained.test")
	a.Join(t, "web", backendThat(t, "A"))
	a.SetSites(t, siteOn("shop", "shop.test", "web"), "--wait")
	a.AwaitAnswer(t, own, "shop.test", a.Nodes, "backend A.")
	obtained := a.AwaitIssued(t, "obtained.test", "", a.Nodes...)

	operator := strings.TrimSpace(a.CLI(t, "node", "operator").Want(t, 0).Stdout)
	a.admit(t, last)
	last.Agent.Stop(t)
	last.fromConsul(t, operator)
	last.StartAgent(t)
	AwaitLog(t, last.Agent, "keyring taken from Consul")
	last.AwaitNoProblem(t)

	a.awaitCopied(t, "disk", 2, 1)
	file := filepath.Join(dir, "fleet.backup")
	first.CLI(t, "backup", file).Want(t, 0)
	orders := a.pebble.Counts(t).Orders
	if _, err := g.server.Client(t).KV().DeleteTree(a.path(""), nil); err != nil {
		t.Fatal(err)
	}
	restoring := filepath.Join(dir, "restoring.hcl")
	sites := `key_prefix "` + a.path("sites") + `/" { policy = "write" }`
	writeConfig(t, restoring, with(first.Settings, Settings{"consul.token_file": g.widened(t, "leadernode1", sites)}))
	var done store.Restored
	r := a.run(t, restoring, "", "restore-fleet", "--yes", "--format", "json", file).Want(t, 0)
	if err := json.Unmarshal([]byte(r.Stdout), &done); err != nil || done.Names != 2 || done.Items != 1 || done.Sites != 1 {
		t.Fatalf("%s: %v, want 2 names, 1 item and 1 site", r, err)
	}
	for _, n := range a.Nodes {
		n.AwaitFollowed(t, done.Epoch, 2)
	}
	if got := a.AwaitIssued(t, "obtained.test", "", a.Nodes...); got.Serial != obtained.Serial {
		t.Errorf("obtained.test is served with %s, want %s", got.Serial, obtained.Serial)
	}
	if got := a.pebble.Counts(t).Orders; got != orders {
		t.Errorf("the CA has made %d orders, want %d as before", got, orders)
	}
	a.CLI(t, "domain", "renew", "obtained.test").Want(t, 0)
	a.SetSites(t, siteTo("shop", "shop.test", backendThat(t, "B"), ""), "--wait")
	a.AwaitAnswer(t, own, "shop.test", a.Nodes, "backend B.")
	a.AwaitIssued(t, "obtained.test", obtained.Serial, a.Nodes...)

	a.CLI(t, "keyring", "rotate", "--leader", "--timeout", "1m").Want(t, 0)
	a.CLI(t, "node", "list").Want(t, 0)
	g.sendAway(t, last, 2, "agentnode3")
	a.CLI(t, "node", "revoke", last.Name).Want(t, 0) // which rotates the fleet's keyring
	for _, n := range a.Nodes[:2] {
		n.AwaitNoProblem(t)
	}
	g.wantNoneDenied(t, a.Fleet)

	// What the tokens of nodes are not for.
	r = first.CLI(t, "restore-fleet", "--yes", "--force", "--from", "disk").Want(t, 1)
	for _, want := range []string{"all but the sites is back", sites, "--force"} {
		if !strings.Contains(r.Stderr, want) {
			t.Errorf("restore-fleet with the token of a node that may lead: %s, want %q", r, want)
		}
	}
	if r := first.CLI(t, "keyring", "rotate", "--timeout", "1s"); r.Code != 1 {
		t.Errorf("keyring rotate with the token of a node that may lead: %s, want exit code 1", r)
	}
	leader := g.members[0].ClientWith(t, readToken(t, g, "leadernode1"))
	if _, err := leader.KV().Put(&api.KVPair{Key: a.path("sites", "shop")}, nil); err == nil || len(g.blocked(t)) == 0 {
		t.Errorf("set a site with the token of a node that may lead: %v, want it denied and told in Consul's log", err)
	}
}
