package agent

import (
	"sync"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/handlers"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// view is what this node knows of itself. The follower writes it; the report
// and the leader read it.
type view struct {
	node     string
	version  string
	problems *problems
	changed  func()

	mu     sync.Mutex
	active renderer.Active
	ring   *fleet.Ring // of the active release, nil if it has none or it cannot be opened
	high   uint64
	proved uint64
	nginx  string
	reload fleet.Reload
	proofs []fleet.ListenerProof
}

// update changes the view under its lock and says so.
func (v *view) update(change func()) {
	v.mu.Lock()
	change()
	v.mu.Unlock()
	v.changed()
}

// Report is what the node would report now.
func (v *view) Report() fleet.Report {
	list := v.problems.list()
	v.mu.Lock()
	defer v.mu.Unlock()
	return fleet.Report{
		Node: v.node, At: time.Now().UTC().Truncate(time.Second), Version: v.version, NginxVersion: v.nginx,
		Mode: v.active.Mode, Seen: v.high, Applied: v.active.Epoch, Proved: v.proved,
		Release: v.active.Release, Reload: v.reload, Listeners: v.proofs, Problems: list,
	}
}

// state is the view as the node's decisions need it.
func (v *view) state() handlers.NodeState {
	v.mu.Lock()
	defer v.mu.Unlock()
	return handlers.NodeState{Mode: v.active.Mode, Epoch: v.active.Epoch, Key: v.active.Key, HighWater: v.high}
}

// own is the ring of the active release and the highest epoch ever accepted.
func (v *view) own() (*fleet.Ring, uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.ring, v.high
}
