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

// fromConsul has the agent of a node take its keyring from Consul when it starts.
func (n *Node) fromConsul(t *testing.T, operator string) {
	t.Helper()
	delete(n.Settings, "keyring_file")
	n.Settings["keyring.from"], n.Settings["keyring.operator"] = "consul", operator
	n.WriteConfig(t)
}

// admit has the operator wrap the keyring for a node.
func (f *Fleet) admit(t *testing.T, n *Node) (recipient string) {
	t.Helper()
	recipient, _, _ = strings.Cut(n.CLI(t, "node", "init").Want(t, 0).Stdout, "\n")
	f.CLI(t, "node", "admit", n.Name, recipient).Want(t, 0)
	return recipient
}

// TestNodesGetTheKeyringThroughConsul admits two nodes to a fleet of one, and
// revokes one of them: the keyring is rotated, without a person at the hosts.
// Somebody who can write to Consul tries to give nodes keyrings.
func TestNodesGetTheKeyringThroughConsul(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Idle: true})
	first, kept, gone := f.Nodes[0], f.Nodes[1], f.Nodes[2]
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
	for _, n := range []*Node{kept, gone} {
		n.fromConsul(t, operator)
		n.StartAgent(t)
	}

	// Somebody else's keyring is not taken, not even as the first one.
	other, _, err := seal.EnsureOperator(filepath.Join(t.TempDir(), "operator.key"))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := seal.Create(filepath.Join(t.TempDir(), "keyring"))
	if err != nil {
		t.Fatal(err)
	}
	recipient, _, _ := strings.Cut(kept.CLI(t, "node", "init").Want(t, 0).Stdout, "\n")
	forged, err := other.Wrap(seal.Grant{Fleet: f.Name, Node: kept.Name, Recipient: recipient, Generation: 1 << 60}, theirs)
	if err != nil {
		t.Fatal(err)
	}
	plant(kept, forged)
	AwaitLog(t, kept.Agent, "keyring for this node refused")
	if _, err := os.Stat(filepath.Join(kept.StateDir, "keyring")); !os.IsNotExist(err) {
		t.Errorf("%s has a keyring file, %v, want none before it is admitted", kept.Name, err)
	}
	for _, n := range []*Node{kept, gone} {
		f.admit(t, n)
	}
	f.AwaitProved(t, 1)
	stale := map[*Node][]byte{}
	for _, n := range []*Node{kept, gone} {
		pair, _, err := kv.Get(grantKey(n), nil)
		if err != nil || pair == nil {
			t.Fatalf("read the first keyring of %s: %v, %v", n.Name, pair, err)
		}
		stale[n] = pair.Value
	}

	if r := f.CLI(t, "node", "revoke", gone.Name).Want(t, 1); !strings.Contains(r.Stderr, "in service") {
		t.Errorf("revoke of a node in service: %s, want it refused", r)
	}
	gone.Agent.Stop(t)
	gone.Drain(t, true)
	known, err := seal.Load(filepath.Join(gone.StateDir, "keyring"))
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
	now, err := seal.Load(f.keyring)
	if err != nil || slices.ContainsFunc(now.IDs(), known.Has) {
		t.Errorf("the keyring is %v, %v, want none of %v in it", now, err, known)
	}
	if got, err := seal.Load(filepath.Join(kept.StateDir, "keyring")); err != nil || !got.Marshal().Equal(now.Marshal()) {
		t.Errorf("%s has %v, %v, want %v", kept.Name, got, err, now)
	}
	f.wantClosed(t, operator, known, identity)

	// A snapshot that is restored brings what was wrapped before.
	for n, record := range stale {
		plant(n, record)
	}
	WantProblem(t, kept.AwaitProblem(t, "keyring-refused"), "alarm", "older")
	if r := f.CLI(t, "node", "list").Want(t, 0); !strings.Contains(r.Stdout, "the last that was wrapped") || !strings.Contains(r.Stdout, "not admitted from here") {
		t.Errorf("node list: %s, want both records told apart from what was wrapped", r)
	}
	f.CLI(t, "node", "admit", kept.Name, recipient).Want(t, 0)
	kept.AwaitNoProblem(t)
	if r := f.CLI(t, "node", "admit", gone.Name, identity.Recipient()).Want(t, 1); !strings.Contains(r.Stderr, "revoked") {
		t.Errorf("admit of an identity that was revoked: %s, want it refused", r)
	}
}

// wantClosed fails the test if what a node had opens anything in Consul.
func (f *Fleet) wantClosed(t *testing.T, operator string, known *seal.Keyring, identity *seal.Identity) {
	t.Helper()
	pairs, _, err := f.Consul.Client(t).KV().List("tlsfleet/"+f.Name+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := seal.ParseOperatorKey(operator)
	if err != nil {
		t.Fatal(err)
	}
	grants := 0
	for _, pair := range pairs {
		if _, _, err := known.Open(f.Name, pair.Key, pair.Value); err == nil {
			t.Errorf("the keyring of the revoked node opens %s", pair.Key)
		}
		g, err := key.Verify(pair.Value, f.Name, filepath.Base(pair.Key))
		if err != nil {
			continue
		}
		grants++
		g.Recipient = identity.Recipient()
		if _, err := identity.Unwrap(g); err == nil {
			t.Errorf("the identity of the revoked node opens %s", pair.Key)
		}
	}
	if grants != 1 {
		t.Errorf("%d nodes have a keyring in Consul, want 1", grants)
	}
}
