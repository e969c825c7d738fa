package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// closed is a Consul that denies by default, speaks TLS only and encrypts its
// gossip, with an agent of its own for each node.
type closed struct {
	server  *testkit.ConsulServer
	members []*testkit.ConsulServer
	dir     string
}

func newClosed(t *testing.T, nodes int) closed {
	t.Helper()
	g := closed{dir: t.TempDir()}
	g.server = testkit.Consul(t, testkit.ConsulACL(), testkit.ConsulTLS(), testkit.ConsulGossip(), testkit.ConsulSessionTTLMin(time.Second))
	for i := range nodes {
		g.members = append(g.members, g.server.Join(t, fmt.Sprintf("node%d", i+1)))
	}
	return g
}

// fleet is two nodes that may lead, one that only follows, and an operator, each
// with the token that `tlsfleet policy` is for, as it is printed for nodes with
// these options.
func (g closed) fleet(t *testing.T, o FleetOptions, options ...string) *acmeFleet {
	t.Helper()
	o.Name, o.Consul, o.Env = testkit.FleetName(t), g.server, []string{"CONSUL_HTTP_TOKEN="}
	roles := []string{"leader", "leader", "agent"}
	o.Node = func(i int) Settings {
		tls := g.members[i].TLS
		return Settings{
			"consul.address": g.members[i].URL(), "consul.token_file": g.token(t, roles[i], o.Name, g.members[i].Node, options...),
			"consul.ca_file": tls.CA, "consul.cert_file": tls.Cert, "consul.key_file": tls.Key,
			"leader.eligible": roles[i] == "leader", "ticket.resume_every": "1s",
		}
	}
	// What else it needs to know of Consul is in the environment: CONSUL_CACERT and so on.
	o.Operator = with(Settings{"consul.token_file": g.token(t, "operator", o.Name, ""), "certificates.mode": "files"}, o.Operator)
	return newACMEFleet(t, o)
}

// token makes a token with what `tlsfleet policy` prints, as its comment says to
// do it, and returns the file that holds it.
func (g closed) token(t *testing.T, role, fleet, node string, options ...string) string {
	t.Helper()
	rules := filepath.Join(g.dir, role+node+".hcl")
	args := append([]string{binary(t), "policy", role, "--fleet", fleet}, options...)
	if node != "" {
		args = append(args, "--node", node)
	}
	printed := runToEnd(t, nil, "", args...).Want(t, 0).Stdout
	if err := os.WriteFile(rules, []byte(printed), 0o600); err != nil {
		t.Fatal(err)
	}
	consul := func(pattern string) string {
		line := regexp.MustCompile(pattern).FindStringSubmatch(printed)
		if line == nil {
			t.Fatalf("no %s in:\n%s", pattern, printed)
		}
		words := strings.Fields(strings.ReplaceAll(line[1], "FILE", rules))
		return runToEnd(t, g.server.Env(), "", append([]string{testkit.ConsulBinary(t)}, words...)...).Want(t, 0).Stdout
	}
	consul(`then: consul (acl policy create .*)`)
	secret := regexp.MustCompile(`SecretID:\s+(\S+)`).FindStringSubmatch(consul(`and: consul (acl token create .*)`))
	file := filepath.Join(g.dir, role+node+".token")
	if secret == nil || os.WriteFile(file, []byte(secret[1]+"\n"), 0o600) != nil {
		t.Fatalf("no secret in what consul says, or %s cannot be written", file)
	}
	return file
}

// blocked are the lines of Consul's logs that tell of a call that was denied.
func (g closed) blocked(t *testing.T) []string {
	t.Helper()
	var lines []string
	for _, s := range append([]*testkit.ConsulServer{g.server}, g.members...) {
		text, err := os.ReadFile(s.LogFile())
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "ermission denied") || strings.Contains(line, "blocked by ACLs") || strings.Contains(line, "lacks permission") {
				lines = append(lines, s.Node+": "+strings.TrimSpace(line))
			}
		}
	}
	return lines
}

// wantNoneDenied fails the test if Consul or an agent tells of a call that was
// denied.
func (g closed) wantNoneDenied(t *testing.T, f *Fleet) {
	t.Helper()
	for _, n := range f.Nodes {
		if log := n.Agent.Log(); strings.Contains(log, "does not allow") || strings.Contains(log, "code: 403") {
			t.Errorf("agent of %s was denied something:\n%s", n.Name, log)
		}
	}
	if lines := g.blocked(t); len(lines) > 0 {
		t.Errorf("Consul has denied:\n%s", strings.Join(lines, "\n"))
	}
}

// TestFleetUnderLeastPrivilege does with a fleet under access control what is done
// every day. Nothing may be denied.
func TestFleetUnderLeastPrivilege(t *testing.T) {
	t.Parallel()
	g := newClosed(t, 3)
	a := g.fleet(t, FleetOptions{})

	tickets := a.Nodes[0].TakeTickets(t)
	a.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	WantResumed(t, true, "after a rotation", tickets, a.Nodes...)
	ca := newCA(t)
	imported := ca.Issue(t, 90, "imported.test")
	a.Import(t, imported)
	a.AwaitServed(t, ca, "imported.test", imported, a.Nodes...)
	a.leadTo(t, a.Nodes[2], "obtained.test")
	a.Add(t, "obtained.test")
	a.AwaitIssued(t, "obtained.test", "", a.Nodes...)
	a.AwaitDomain(t, "obtained.test", issuance.Issued)
	for _, args := range [][]string{
		{"status"}, {"ticket", "show"}, {"cert", "list"}, {"cert", "show", "imported.test"}, {"domain", "list"}, {"cert", "remove", "--yes", "imported.test"},
	} {
		a.CLI(t, args...).Want(t, 0)
	}

	old := a.Leader(t)
	old.Agent.Kill(t)
	testkit.Eventually(t, 4*settle, "another leader", func() error {
		s, err := a.TryStatus(t)
		if err == nil && (s.Leader == "" || s.Leader == old.Name) {
			err = fmt.Errorf("leader is %q", s.Leader)
		}
		return err
	})
	old.StartAgent(t)
	a.AwaitProved(t, 2)
	a.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	WantResumed(t, true, "after the next leader's rotation", tickets, a.Nodes...)
	for _, n := range a.Nodes {
		n.AwaitNoProblem(t)
	}
	testkit.Eventually(t, settle, "a ticket of the node that only follows at another node", func() error {
		r, err := a.Nodes[2].Report(t)
		if err == nil && r.Resumption.Resumed == 0 {
			err = fmt.Errorf("it reports %+v", r.Resumption)
		}
		return err
	})
	g.wantNoneDenied(t, a.Fleet)
	if r := a.Nodes[2].CLI(t, "rotate-ticket"); r.Code != 1 {
		t.Errorf("rotate-ticket with the token of a node that only follows: %s, want exit code 1", r)
	}
	if len(g.blocked(t)) == 0 {
		t.Error("Consul's log does not tell of what it denies: this test sees nothing")
	}
	_, _, err := g.members[2].ClientWith(t, readToken(t, g, "agentnode3")).KV().Get("tlsfleet/"+a.Name+"/acme/account", new(api.QueryOptions))
	if err == nil {
		t.Error("the token of a node that only follows reads the account, want it denied")
	}
}

func readToken(t *testing.T, g closed, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(g.dir, name+".token"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}
