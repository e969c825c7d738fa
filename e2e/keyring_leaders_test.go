package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// copyKeyring is an operator who brings a keyring file to another place.
func copyKeyring(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to+".new", text, 0o600)
	}
	if err == nil {
		err = os.Rename(to+".new", to)
	}
	if err != nil {
		t.Fatalf("copy %s to %s: %v", from, to, err)
	}
}

// TestLeadersKeyringIsRotated while the fleet has an account at a CA, which goes on
// with it.
func TestLeadersKeyringIsRotated(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(i int) string { return filepath.Join(dir, fmt.Sprintf("leaders%d", i+1)) }
	runToEnd(t, nil, "", binary(t), "keyring", "init", "--leader", "--file", file(0)).Want(t, 0)
	copyKeyring(t, file(0), file(1))
	f := newACMEFleet(t, FleetOptions{Nodes: 2, Node: func(i int) Settings { return Settings{"leader.keyring_file": file(i)} }})
	f.leadTo(t, f.Nodes[0], "shop.test")
	f.Add(t, "shop.test")
	first := f.AwaitIssued(t, "shop.test", "", f.Nodes...)
	account := f.path("acme", "account")
	old, err := seal.Load(file(0))
	if err != nil {
		t.Fatal(err)
	}
	if id, err := seal.SealedWith(f.take(t, account)); err != nil || id != old.Sealing() {
		t.Fatalf("the account is sealed with %s, %v, want the leaders' key %s", id, err, old.Sealing())
	}

	r := f.CLI(t, "keyring", "rotate", "--leader", "--timeout", "1s").Want(t, 1)
	for _, want := range []string{"node2 lacks the key", "copy " + file(0)} {
		if !strings.Contains(r.Stderr, want) {
			t.Errorf("rotate with the new key on one host: %s, want %q", r, want)
		}
	}
	for deadline, code := time.Now().Add(2*settle), 1; code != 0; {
		if time.Now().After(deadline) {
			t.Fatal("the rotation did not end")
		}
		copyKeyring(t, file(0), file(1))
		code = f.CLI(t, "keyring", "rotate", "--leader", "--timeout", "3s").Code
	}
	now, err := seal.Load(file(0))
	if err != nil || len(now.IDs()) != 1 || old.Has(now.Sealing()) {
		t.Fatalf("the leaders' keyring is %v, %v, want one key, and not that of %v", now, err, old)
	}
	if id, err := seal.SealedWith(f.take(t, account)); err != nil || id != now.Sealing() {
		t.Errorf("the account is sealed with %s, %v, want %s", id, err, now.Sealing())
	}
	if got := ringFile(t, f.keyring); got.Has(now.Sealing()) {
		t.Errorf("the fleet's keyring has the leaders' key: %v", got)
	}
	f.CLI(t, "domain", "renew", "shop.test").Want(t, 0)
	f.AwaitIssued(t, "shop.test", first.Serial, f.Nodes...)
}

func ringFile(t *testing.T, path string) *seal.Keyring {
	t.Helper()
	k, err := seal.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestKeyringRotatedByForce leaves a node behind, which keeps what it has and comes
// back when it gets the file.
func TestKeyringRotatedByForce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(i int) string { return filepath.Join(dir, fmt.Sprintf("node%d", i+1)) }
	f := NewFleet(t, FleetOptions{Idle: true, Nodes: 2, Node: func(i int) Settings {
		return Settings{"keyring_file": file(i), "leader.eligible": i == 0}
	}})
	behind := f.Nodes[1]
	for i, n := range f.Nodes {
		copyKeyring(t, f.keyring, file(i))
		n.Nginx.Start(t)
		n.StartAgent(t)
	}
	f.AwaitProved(t, 1)
	old, reloads := ringFile(t, file(1)), behind.Reloads()
	r := f.CLI(t, "keyring", "rotate", "--force", "--timeout", "30s").Want(t, 0)
	now := ringFile(t, file(0))
	_, passed, _ := strings.Cut(r.Stdout, "passed over: ")
	if !strings.Contains(passed, "node2") || !strings.Contains(passed, "Copy "+file(0)) || len(now.IDs()) != 1 || old.Has(now.Sealing()) {
		t.Errorf("rotate by force: %s, the keyring is %v, want node2 passed over and one new key", r, now)
	}
	WantProblem(t, behind.AwaitProblem(t, "ring-unreadable"), "alarm", "")
	if got := behind.Reloads(); got != reloads {
		t.Errorf("the node that is left behind has reloaded %d times, want %d", got, reloads)
	}

	copyKeyring(t, file(0), file(1))
	behind.AwaitNoProblem(t)
	f.AwaitProved(t, 1)
	var list agent.KeyringStatus
	testkit.Eventually(t, settle, "all nodes to have the new key alone", func() error {
		err := f.askJSON(t, &list, "keyring", "list")
		if err == nil && (len(list.Keys) != 1 || len(list.Keys[0].Lacking) > 0 || !slices.Contains(list.Keys[0].Seals, "node2")) {
			err = fmt.Errorf("the keys are %v", list.Keys)
		}
		return err
	})
	// Its own copy of the ring is under the old key, so that it makes another.
	if got := behind.Reloads(); got > reloads+1 {
		t.Errorf("the node has reloaded %d times when it has the file, want %d at most", got, reloads+1)
	}
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
}
