package e2e

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// TestOlderRingIsRefusedAndMended puts an old record back while nobody leads,
// and then lets a node lead that holds the newer ring.
func TestOlderRingIsRefusedAndMended(t *testing.T) {
	t.Parallel()
	o := onShared(t, 3, nil)
	o.Node = func(i int) Settings { return Settings{"leader.eligible": i == 0} }
	f := NewFleet(t, o)
	old := f.StoredRing(t)
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	current := f.sealsNow(t)
	f.Nodes[0].Agent.Stop(t)
	f.PlantRing(t, old)
	for _, n := range f.Nodes[1:] {
		WantProblem(t, n.AwaitProblem(t, "ring-refused"), fleet.Alarm, "epoch 1 in Consul", "2 accepted before")
		n.WantSeals(t, "with an older ring in Consul", current)
		if CountLog(n.Agent, "[ERROR]", "ring refused", "epoch=1") == 0 {
			t.Errorf("%s has not logged that it refuses the ring", n.Name)
		}
	}
	f.Nodes[0].StartAgent(t)
	f.AwaitProved(t, 2)
	for _, n := range f.Nodes {
		n.AwaitNoProblem(t)
		n.WantSeals(t, "with the ring written again", current)
	}
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	if s := f.Status(t); s.Epoch != 3 {
		t.Errorf("epoch = %d after one more rotation, want 3", s.Epoch)
	}
}

// TestRestoredSnapshotIsMended brings all of Consul's state back to what it
// was two rotations ago.
func TestRestoredSnapshotIsMended(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{})
	file := filepath.Join(f.Dir, "consul.snap")
	f.ConsulCLI(t, "snapshot", "save", file).Want(t, 0)
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	current := f.sealsNow(t)
	f.ConsulCLI(t, "snapshot", "restore", file).Want(t, 0)
	f.Await(t, "epoch 3 again", func(s Status) error {
		if s.Epoch != 3 {
			return fmt.Errorf("epoch is %d", s.Epoch)
		}
		return nil
	})
	f.AwaitBack(t, 3)
	for _, n := range f.Nodes {
		if got := f.Ring(t).Key(t, fleet.RolePrevious); got != current {
			t.Errorf("newest previous key = %s, want %s, which was current", got, current)
		}
		if n.AppliedEpoch(t) != 4 {
			t.Errorf("%s has epoch %d, want 4", n.Name, n.AppliedEpoch(t))
		}
	}
}

// AppliedEpoch is the epoch in the node's active release.
func (n *Node) AppliedEpoch(t *testing.T) uint64 {
	t.Helper()
	r, err := n.Report(t)
	if err != nil {
		t.Fatal(err)
	}
	return r.Applied
}
