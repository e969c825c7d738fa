package agent

import (
	"slices"
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

	inventory uint64 // epoch followed
	names     int    // with a certificate here
	pending   int    // whose wanted certificate is not in place yet

	sites      uint64 // epoch served
	sitesProof fleet.SitesProof
	waves      bool // sites are followed as the leader lets the node

	contact    time.Time // with Consul, the last
	resumption fleet.Resumption

	keys, leaderKeys []string        // ids; never changed
	stale            []string        // ids of other keys that copies here are sealed with; set before anybody reads it
	sealing          fleet.Sealing   // while this node leads
	archives         []fleet.Archive // the same; never changed, but replaced
}

// update changes the view under its lock and says so.
func (v *view) update(change func()) {
	v.mu.Lock()
	change()
	v.mu.Unlock()
	v.changed()
}

// count notes how many names have a certificate here, and how many want another
// one. It is told with the next report, because it may change with every handshake.
func (v *view) count(names, pending int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.names, v.pending = names, pending
}

// resumed notes what became of a ticket; it is told with the next report.
func (v *view) resumed(r fleet.Resumption) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.resumption = r
}

// archived notes how far the copies in archives are. What they differ in from
// moment to moment is told with the next report.
func (v *view) archived(list []fleet.Archive) {
	v.mu.Lock()
	news := !slices.EqualFunc(v.archives, list, fleet.Archive.Same)
	v.archives = list
	v.mu.Unlock()
	if news {
		v.changed()
	}
}

// reached notes when Consul was reached; the next report shows nothing of it.
func (v *view) reached(at time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.contact = at
}

// Report is what the node would report now.
func (v *view) Report() fleet.Report {
	list := v.problems.list()
	v.mu.Lock()
	defer v.mu.Unlock()
	return fleet.Report{
		Node: v.node, At: time.Now().UTC().Truncate(time.Second), Version: v.version, NginxVersion: v.nginx,
		Mode: v.active.Mode, Seen: v.high, Applied: v.active.Epoch, Ring: v.digest(), Proved: v.proved,
		Release: v.active.Release, Reload: v.reload, Listeners: v.proofs, Problems: list,
		Inventory: v.inventory, Names: v.names, Resumption: v.resumption, Sites: v.sites, SitesProof: v.sitesProof, Waves: v.waves,
		Keys: v.keys, LeaderKeys: v.leaderKeys, StaleCopies: v.stale, Sealing: v.sealing,
		Archives: v.archives,
	}
}

// state is the view as the node's decisions need it.
func (v *view) state() handlers.NodeState {
	v.mu.Lock()
	defer v.mu.Unlock()
	return handlers.NodeState{
		Mode: v.active.Mode, Epoch: v.active.Epoch, Key: v.active.Key, Digest: v.digest(), HighWater: v.high,
		NoCopy: v.active.Mode == fleet.ModeRing && v.ring == nil,
	}
}

// digest names the active ring; the caller holds the lock.
func (v *view) digest() string {
	if v.ring == nil || v.active.Mode != fleet.ModeRing {
		return ""
	}
	return v.ring.Digest()
}

// followed is the inventory's epoch that this node follows; 0: none.
func (v *view) followed() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.inventory
}

// own is the ring of the active release and the highest epoch ever accepted.
func (v *view) own() (*fleet.Ring, uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.ring, v.high
}

// release is the active release's keys, to be put into another release.
func (v *view) release() (renderer.Release, uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.active.Mode == fleet.ModeRing && v.ring != nil:
		return renderer.Release{Mode: fleet.ModeRing, Ring: *v.ring, Sealed: v.active.Sealed}, v.active.Epoch
	case v.active.Mode == fleet.ModePerHost:
		return renderer.Release{Mode: fleet.ModePerHost}, 0
	default:
		return renderer.Release{}, 0
	}
}

// current is the active release.
func (v *view) current() renderer.Active {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.active
}

// serving is the servers of the active release.
func (v *view) serving() renderer.TLSServers {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.active.TLS
}

func (v *view) nginxVersion() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.nginx
}

// sealingNow is how far the leader is with sealing records anew.
func (v *view) sealingNow() fleet.Sealing {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.sealing
}

// servedSites notes the epoch of the sites that nginx serves. It reports whether
// that is news.
func (v *view) servedSites(epoch uint64) bool {
	v.mu.Lock()
	news := v.sites != epoch
	v.sites = epoch
	v.mu.Unlock()
	if news {
		v.changed()
	}
	return news
}

// provedSites notes what was found out about an epoch of the sites.
func (v *view) provedSites(p fleet.SitesProof) {
	v.mu.Lock()
	news := v.sitesProof != p
	v.sitesProof = p
	v.mu.Unlock()
	if news {
		v.changed()
	}
}

// led notes whether the leader says which sites are for this node.
func (v *view) led(yes bool) { v.update(func() { v.waves = yes }) }

// notRunning reports whether the active release waits for nginx to be started, and
// was not seen since.
func (v *view) notRunning() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.reload.Result == fleet.ReloadNotRunning && v.proved == 0
}
