package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/seal"
)

// TestNodesGetTheKeyringThroughConsul admits two nodes to a fleet of one, rotates
// the keyring without a person at the hosts, and revokes one. Somebody who can
// write to Consul tries to give them keyrings of his own.
func TestNodesGetTheKeyringThroughConsul(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Idle: true})
	first, admitted := f.Nodes[0], f.Nodes[1:]
	first.Settings["keyring.operator_key_file"] = filepath.Join(f.Dir, "operator.key")
	first.WriteConfig(t)
	operator := strings.TrimSpace(f.CLI(t, "node", "operator").Want(t, 0).Stdout)
	grantKey := func(n *Node) string { return "tlsfleet/" + f.Name + "/keyring/nodes/" + n.Name }
	kv := f.Consul.Client(t).KV()
	plant := func(n *Node, record []byte) {
		t.Helper()
		if _, err := kv.Put(&api.KVPair{Key: grantKey(n), Value: record}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range f.Nodes {
		n.Nginx.Start(t)
	}
	first.StartAgent(t)
	for _, n := range admitted {
		delete(n.Settings, "keyring_file")
		n.Settings["keyring.from"], n.Settings["keyring.operator"] = "consul", operator
		n.WriteConfig(t)
		n.StartAgent(t)
	}
	local := func(n *Node) string { return filepath.Join(n.StateDir, "keyring") }

	// Somebody else's keyring is not taken, not even as the first one.
	recipients := map[*Node]string{}
	for _, n := range admitted {
		recipients[n], _, _ = strings.Cut(n.CLI(t, "node", "init").Want(t, 0).Stdout, "\n")
	}
	other, _, err := seal.EnsureOperator(filepath.Join(t.TempDir(), "operator.key"))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := seal.Create(filepath.Join(t.TempDir(), "keyring"))
	if err != nil {
		t.Fatal(err)
	}
	forged, err := other.Wrap(seal.Grant{Fleet: f.Name, Node: admitted[0].Name, Recipient: recipients[admitted[0]], Generation: 1 << 60}, theirs)
	if err != nil {
		t.Fatal(err)
	}
	plant(admitted[0], forged)
	AwaitLog(t, admitted[0].Agent, "keyring for this node refused")
	if _, err := os.Stat(local(admitted[0])); !os.IsNotExist(err) {
		t.Errorf("%s has a keyring file, %v, want none before it is admitted", admitted[0].Name, err)
	}
	for _, n := range admitted {
		f.CLI(t, "node", "admit", n.Name, recipients[n]).Want(t, 0)
	}
	f.AwaitProved(t, 1)
	stale, _, err := kv.Get(grantKey(admitted[0]), nil)
	if err != nil || stale == nil {
		t.Fatalf("read the first keyring of %s: %v, %v", admitted[0].Name, stale, err)
	}

	reloads := []int{f.Nodes[0].Reloads(), f.Nodes[1].Reloads(), f.Nodes[2].Reloads()}
	f.CLI(t, "keyring", "rotate", "--timeout", "1m").Want(t, 0)
	f.AwaitProved(t, 1)
	if got := []int{f.Nodes[0].Reloads(), f.Nodes[1].Reloads(), f.Nodes[2].Reloads()}; !slices.Equal(got, reloads) {
		t.Errorf("reloads = %v after the rotation of the keyring, want %v", got, reloads)
	}
	plant(admitted[0], stale.Value)
	WantProblem(t, admitted[0].AwaitProblem(t, "keyring-refused"), "alarm", "older")

	gone := admitted[1]
	if r := f.CLI(t, "node", "revoke", gone.Name).Want(t, 1); !strings.Contains(r.Stderr, "in service") {
		t.Errorf("revoke of a node in service: %s, want it refused", r)
	}
	f.CLI(t, "node", "admit", admitted[0].Name, recipients[admitted[0]]).Want(t, 0)
	gone.Agent.Stop(t)
	gone.Drain(t, true)
	known, err := seal.Load(local(gone))
	if err != nil {
		t.Fatal(err)
	}
	identity, err := seal.LoadIdentity(filepath.Join(gone.StateDir, "node.age"))
	if err != nil {
		t.Fatal(err)
	}
	f.CLI(t, "node", "revoke", gone.Name, "--timeout", "1m").Want(t, 0)
	if epoch := f.Ring(t).Epoch; epoch < 2 {
		t.Errorf("the ring is at epoch %d after a node was revoked, want new ticket keys", epoch)
	}
	pairs, _, err := kv.List("tlsfleet/"+f.Name+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := seal.ParseOperatorKey(operator)
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range pairs {
		if _, _, err := known.Open(f.Name, pair.Key, pair.Value); err == nil {
			t.Errorf("the keyring of the revoked node opens %s", pair.Key)
		}
		g, err := key.Verify(pair.Value, f.Name, filepath.Base(pair.Key))
		if err != nil {
			continue
		}
		g.Recipient = identity.Recipient()
		if _, err := identity.Unwrap(g); err == nil || pair.Key == grantKey(gone) {
			t.Errorf("the identity of the revoked node opens %s: %v", pair.Key, err)
		}
	}
	if r := f.CLI(t, "node", "list").Want(t, 0); strings.Contains(r.Stdout, gone.Name) || !strings.Contains(r.Stdout, admitted[0].Name) {
		t.Errorf("node list: %s, want %s alone", r, admitted[0].Name)
	}
}
