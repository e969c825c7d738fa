package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// keyringFleet is a fleet whose nodes have keyring files of their own, with
// certificates, sites and a copy outside Consul.
type keyringFleet struct {
	*Fleet
	ca     *CA
	served Leaf
}

func newKeyringFleet(t *testing.T) *keyringFleet {
	t.Helper()
	f := idleKeyringFleet(t, FleetOptions{Settings: Settings{`archive "disk".directory`: filepath.Join(t.TempDir(), "disk")}})
	f.startAll(t)
	f.AwaitProved(t, 1)
	k := &keyringFleet{Fleet: f, ca: newCA(t)}
	k.served = k.ca.Issue(t, 90, "shop.test")
	k.Import(t, k.served)
	k.SetSites(t, siteTo("shop", "shop.test", strings.TrimPrefix(backendThat(t, "one"), "http://"), ""))
	k.AwaitServed(t, k.ca, "shop.test", k.served, k.Nodes...)
	for _, n := range k.Nodes {
		n.AwaitSites(t, 1)
	}
	return k
}

// idleKeyringFleet is a fleet that does not run yet, whose nodes have keyring files
// of their own and sockets for sites.
func idleKeyringFleet(t *testing.T, o FleetOptions) *Fleet {
	t.Helper()
	files := t.TempDir()
	o.Idle, o.Node = true, func(i int) Settings {
		return Settings{"keyring_file": filepath.Join(files, fmt.Sprintf("node%d", i+1))}
	}
	f := NewFleet(t, o)
	for _, n := range f.Nodes {
		f.give(t, f.keyring, n)
		n.Settings["certificates.listen"] = n.Settings["nginx.default_servers"]
		n.Settings["acme.http_listen"] = []string{net.JoinHostPort(n.Nginx.Address, strconv.Itoa(testkit.FreePort(t, n.Nginx.Address)))}
		n.WriteConfig(t)
	}
	return f
}

// startAll starts nginx and the agent of each node.
func (f *Fleet) startAll(t *testing.T) {
	t.Helper()
	for _, n := range f.Nodes {
		n.Nginx.Start(t)
		n.StartAgent(t)
	}
}

// give copies a keyring file to a node, as an operator does.
func (f *Fleet) give(t *testing.T, from string, n *Node) {
	t.Helper()
	to, ok := n.Settings["keyring_file"].(string)
	if !ok {
		t.Fatalf("%s has no keyring_file", n.Name)
	}
	copyKeyring(t, from, to)
}

// ringOf is the keyring on a node.
func ringOf(t *testing.T, n *Node) *seal.Keyring {
	t.Helper()
	path, ok := n.Settings["keyring_file"].(string)
	if !ok {
		t.Fatalf("%s has no keyring_file", n.Name)
	}
	return ringFile(t, path)
}

// sealedWith counts the records in Consul by the key that they are sealed with,
// and those that a keyring opens.
func (f *Fleet) sealedWith(t *testing.T, k *seal.Keyring) (count map[string]int, opened []string) {
	t.Helper()
	pairs, _, err := f.Consul.Client(t).KV().List("tlsfleet/"+f.Name+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	count = map[string]int{}
	for _, pair := range pairs {
		if id, err := seal.SealedWith(pair.Value); err == nil {
			count[id]++
		}
		if _, _, err := k.Open(f.Name, pair.Key, pair.Value); err == nil {
			opened = append(opened, pair.Key)
		}
	}
	return count, opened
}

// TestKeyringIsRotatedWhileTheFleetRuns brings the file to one host after the
// other, kills the command on its way, and looks whether anybody notices.
func TestKeyringIsRotatedWhileTheFleetRuns(t *testing.T) {
	t.Parallel()
	f := newKeyringFleet(t)
	first, file := f.Nodes[0], f.Nodes[0].Settings["keyring_file"].(string) //nolint:errcheck,forcetypeassert // it was set
	old := ringOf(t, first)
	type state struct {
		reloads int
		applied fleet.Report
	}
	look := func() map[string]state {
		all := map[string]state{}
		for _, n := range f.Nodes {
			r, err := n.Report(t)
			if err != nil {
				t.Fatal(err)
			}
			all[n.Name] = state{n.Reloads(), fleet.Report{Applied: r.Applied, Ring: r.Ring, Release: r.Release, Inventory: r.Inventory, Sites: r.Sites}}
		}
		return all
	}
	before := look()

	r := f.CLI(t, "keyring", "rotate", "--timeout", "1s").Want(t, 1)
	for _, want := range []string{"node2 lacks the key", "node3 lacks the key", "copy " + file} {
		if !strings.Contains(r.Stderr, want) {
			t.Errorf("rotate with the new key on one host: %s, want %q", r, want)
		}
	}
	f.give(t, file, f.Nodes[1])
	var list agent.KeyringStatus
	testkit.Eventually(t, settle, "node2 to have the new key", func() error {
		err := f.askJSON(t, &list, "keyring", "list")
		if err == nil && (len(list.Keys) != 2 || !slices.Equal(list.Keys[1].Lacking, []string{"node3"})) {
			err = fmt.Errorf("the keys are %v", list.Keys)
		}
		return err
	})
	r = f.CLI(t, "keyring", "rotate", "--timeout", "1s").Want(t, 1)
	if strings.Contains(r.Stderr[strings.LastIndex(r.Stderr, "error:"):], "node2") || !strings.Contains(r.Stderr, "node3 lacks the key") {
		t.Errorf("rotate with the new key on two hosts: %s, want node3 named alone", r)
	}
	next := ringOf(t, first).Next()
	if list.To != next || list.Keys[0].Role != "seals" || list.Keys[0].Records == 0 || list.Keys[1].Role != "next" {
		t.Errorf("keyring list = %+v, want a rotation to %s", list, next)
	}
	count, _ := f.sealedWith(t, old)
	if count[next] > 0 {
		t.Errorf("%d records are sealed with a key that node3 lacks", count[next])
	}

	// Held again and again, and killed while it waits for the nodes to seal.
	f.give(t, file, f.Nodes[2])
	c := startChild(t, "keyring rotate", filepath.Join(f.Dir, "rotate.log"), append([]string{"TLSFLEET_CONFIG=" + first.Config}, f.env...),
		binary(t), "keyring", "rotate", "--timeout", "5m")
	testkit.Eventually(t, settle, "the new key to seal on the first host", func() error {
		if got := ringOf(t, first).Sealing(); got != next {
			return fmt.Errorf("%s seals", got)
		}
		return nil
	})
	c.Kill(t)
	if code := f.finishRotation(t, file); code != 0 {
		t.Fatalf("the rotation did not end")
	}

	if got := ringOf(t, first).IDs(); !slices.Equal(got, []string{next}) {
		t.Errorf("the keyring has %v, want %s alone", got, next)
	}
	f.Await(t, "every report sealed with the new key", func(Status) error {
		if count, opened := f.sealedWith(t, old); len(count) != 1 || count[next] == 0 || len(opened) > 0 {
			return fmt.Errorf("records by key = %v, the old keyring opens %v, want all under %s", count, opened, next)
		}
		return nil
	})
	for name, now := range look() {
		if now.reloads != before[name].reloads || fmt.Sprint(now.applied) != fmt.Sprint(before[name].applied) {
			t.Errorf("%s has %d reloads and %+v, want as before: %d and %+v", name, now.reloads, now.applied, before[name].reloads, before[name].applied)
		}
	}
	f.WantServed(t, f.ca, "after the rotation", "shop.test", f.served, f.Nodes...)

	// The copies on the hosts are under the new key too.
	f.Nodes[2].Agent.Kill(t)
	f.Nodes[2].StartAgent(t)
	f.AwaitProved(t, 1)
	for _, n := range f.Nodes {
		n.AwaitNoProblem(t)
	}
	if got := f.Nodes[2].Reloads(); got != before["node3"].reloads {
		t.Errorf("node3 has reloaded %d times when its agent starts with the new keyring, want %d", got, before["node3"].reloads)
	}
	if log := f.Nodes[2].Agent.Log(); strings.Contains(log, "own copy of") || strings.Contains(log, "local copy of the ring refused") {
		t.Errorf("node3 could not open its own copies with the new keyring")
	}
	// So is the copy outside Consul.
	var info agent.CopyInfo
	backup := filepath.Join(f.Dir, "backup")
	if r := f.CLI(t, "backup", "--from", "disk", "--format", "json", backup).Want(t, 0); json.Unmarshal([]byte(r.Stdout), &info) != nil || info.Names != 1 {
		t.Errorf("backup of the archive with the new keyring alone: %s, want 1 name", r)
	}
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
}

// finishRotation is an operator who copies the file and runs the command until it
// is through.
func (f *keyringFleet) finishRotation(t *testing.T, file string) int {
	t.Helper()
	for deadline := time.Now().Add(2 * settle); time.Now().Before(deadline); {
		for _, n := range f.Nodes[1:] {
			f.give(t, file, n)
		}
		if r := f.CLI(t, "keyring", "rotate", "--timeout", "3s"); r.Code == 0 {
			if !strings.Contains(r.Stdout, "seals everything") {
				t.Errorf("rotate says %s, want that it is through", r)
			}
			return 0
		}
	}
	return 1
}
