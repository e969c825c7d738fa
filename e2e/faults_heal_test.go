package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// TestDamagedRingIsWrittenAgain flips a bit of the ring in Consul for good:
// the nodes keep what they have, and the leader puts its own ring back.
func TestDamagedRingIsWrittenAgain(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, onShared(t, 2, nil))
	current := f.sealsNow(t)
	bad := flipped(f.StoredRing(t), 40)
	f.PlantRing(t, bad)
	for _, n := range f.Nodes {
		n.AwaitProblem(t, "ring-unreadable")
	}
	kv := f.Consul.Client(t).KV()
	testkit.Eventually(t, time.Minute, "the leader to write its ring again", func() error {
		pair, _, err := kv.Get(f.ringPath(), nil)
		if err != nil || pair == nil || bytes.Equal(pair.Value, bad) {
			return fmt.Errorf("the damaged record is still there (%w)", err)
		}
		return nil
	})
	f.AwaitProved(t, 1)
	for _, n := range f.Nodes {
		n.AwaitNoProblem(t)
		n.WantSeals(t, "with the ring written again", current)
	}
}

// TestRotateRefusesARingThatWentBack asks for changes of an older ring while
// nobody leads who could write the newer one again.
func TestRotateRefusesARingThatWentBack(t *testing.T) {
	t.Parallel()
	o := onShared(t, 2, nil)
	o.Node = func(i int) Settings { return Settings{"leader.eligible": i == 0} }
	f := NewFleet(t, o)
	old := f.StoredRing(t)
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	f.Nodes[0].Agent.Kill(t)
	f.PlantRing(t, old)
	key := filepath.Join(f.Dir, "key")
	raw := make([]byte, fleet.KeySize256)
	for i := range raw {
		raw[i] = byte(200 - i) // no text
	}
	if err := os.WriteFile(key, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"rotate-ticket"}, {"rotate-ticket", "--key-file", key}} {
		if r := f.CLI(t, args...).Want(t, 1); !strings.Contains(r.Stderr, "older than the one in force: Consul has epoch 1, nodes have seen 2") {
			t.Errorf("%s, want it to say that the ring went back", r)
		}
	}
	if !bytes.Equal(f.StoredRing(t), old) {
		t.Error("the ring in Consul was changed, want it untouched")
	}
}

// TestNginxOnAnOlderReleaseIsBroughtToTheActiveOne lets nginx read one release
// while another is active, as a start in the moment of a flip can.
func TestNginxOnAnOlderReleaseIsBroughtToTheActiveOne(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, onShared(t, 1, nil))
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	n := f.Nodes[0]
	current := f.sealsNow(t)
	n.Agent.Stop(t)
	link := filepath.Join(n.Nginx.StateDir, "nginx", "current")
	active, err := os.Readlink(link)
	if err != nil {
		t.Fatal(err)
	}
	point := func(to string) {
		if err := os.Remove(link); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	n.StartAgent(t)
	f.AwaitProved(t, 2)
	before := n.Reloads()
	generations := func() int { return strings.Count(n.Nginx.ErrorLog(), "start worker processes") }
	began := generations()             // nginx says so once it has read its configuration
	n.Agent.Signal(t, syscall.SIGSTOP) // or it would lead the link back at once
	point("1")
	n.Nginx.Signal(t, syscall.SIGHUP)
	testkit.Eventually(t, settle, "nginx to take the older release", func() error {
		if generations() == began {
			return fmt.Errorf("no new workers yet")
		}
		return nil
	})
	point(active)
	n.Agent.Signal(t, syscall.SIGCONT)
	testkit.Eventually(t, time.Minute, "nginx to be brought to the active release", func() error {
		if n.Reloads() < before+2 {
			return fmt.Errorf("%d reloads, want %d", n.Reloads(), before+2)
		}
		return nil
	})
	n.AwaitReport(t, "the proof", func(r fleet.Report) error {
		if r.Proved != 2 {
			return fmt.Errorf("proved %d", r.Proved)
		}
		return nil
	})
	n.WantSeals(t, "on the active release", current)
}
