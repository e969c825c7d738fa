package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/handlers"
)

// Keyrings is what an operator does with one kind of keyring: that of the fleet or
// that of the leaders, as a file on this host.
type Keyrings struct {
	cfg     config.Config
	log     hclog.Logger
	leaders bool
	path    string
	store   *store.Store // with what is in the files now
}

// ErrNoLeaderKeyring means that the configuration names no keyring of the leaders.
var ErrNoLeaderKeyring = errors.New("leader.keyring_file is not in the configuration, or this host never leads")

// OpenKeyrings reads the keyring and prepares to talk to Consul.
func OpenKeyrings(cfg config.Config, leaders bool, log hclog.Logger) (*Keyrings, error) {
	k := &Keyrings{cfg: cfg, log: log, leaders: leaders, path: cfg.KeyringFile}
	if leaders {
		if k.path = cfg.Leader.KeyringFile; k.path == "" || !cfg.Leader.Eligible {
			return nil, ErrNoLeaderKeyring
		}
	}
	return k, k.reopen()
}

// Path is the file.
func (k *Keyrings) Path() string { return k.path }

// reopen takes in what is in the files now.
func (k *Keyrings) reopen() (err error) {
	if k.leaders {
		k.store, err = openAgentStore(k.cfg, k.log)
		return err
	}
	k.store, err = openStore(k.cfg, k.log)
	return err
}

// of is the keys that a report tells of this kind of keyring.
func (k *Keyrings) of() handlers.KeysOf {
	if k.leaders {
		return handlers.LeaderKeys
	}
	return handlers.FleetKeys
}

// target is the key of a record that is about this kind of keyring.
func (k *Keyrings) target(r *store.Rotation) *string {
	if k.leaders {
		return &r.Leaders
	}
	return &r.To
}

// sealed is the key that a state says of this kind of keyring.
func (k *Keyrings) sealed(s store.SealState) string {
	if k.leaders {
		return s.Leaders
	}
	return s.Key
}

// members are the nodes of the fleet and their reports.
func (k *Keyrings) members(ctx context.Context) ([]fleet.Node, []fleet.Report, error) {
	reports, _, err := k.store.Reports(ctx)
	if err != nil {
		return nil, nil, err
	}
	nodes, err := k.store.Nodes(ctx)
	return nodes, reports, err
}

// KeyringStatus is what `tlsfleet keyring list` shows.
type KeyringStatus struct {
	Fleet   string         `json:"fleet"`
	File    string         `json:"file"`
	Keys    []KeyUse       `json:"keys"`
	Nodes   []NodeKeys     `json:"nodes"`
	To      string         `json:"rotation_to,omitempty"` // a rotation to this key is under way
	Sealing *fleet.Sealing `json:"sealing,omitempty"`     // of the leader
}

// KeyUse is one key, of this host's file or of elsewhere.
type KeyUse struct {
	ID      string   `json:"id"`
	Role    string   `json:"role"`              // here: "seals", "next", "opens", or "" if it is not in the file
	Records int      `json:"records"`           // in Consul, as far as an operator may read them; 0 for the leaders' keyring
	Seals   []string `json:"seals,omitempty"`   // nodes that seal with it
	Lacking []string `json:"lacking,omitempty"` // nodes in service that lack it
}

// NodeKeys is what one node reports.
type NodeKeys struct {
	Node        string   `json:"node"`
	InService   bool     `json:"in_service"`
	Keys        []string `json:"keys"` // the first seals; empty: it does not report them
	StaleCopies []string `json:"stale_copies,omitempty"`
}

// List looks at the file, the nodes and every record that may be read.
func (k *Keyrings) List(ctx context.Context, progress func(seen, total int)) (KeyringStatus, error) {
	ring, err := seal.Load(k.path)
	if err != nil {
		return KeyringStatus{}, err
	}
	out := KeyringStatus{Fleet: k.cfg.Fleet, File: k.path, Keys: []KeyUse{}, Nodes: []NodeKeys{}}
	nodes, reports, err := k.members(ctx)
	if err != nil {
		return out, err
	}
	rotation, err := k.store.Rotation(ctx)
	if err != nil {
		return out, err
	}
	out.To = *k.target(&rotation.Rotation)
	count := map[string]int{}
	if !k.leaders {
		if count, err = k.store.Tally(ctx, store.ReadableArea, progress); err != nil {
			return out, err
		}
	}
	out.Sealing = sealingOf(reports)
	for _, n := range nodes {
		out.Nodes = append(out.Nodes, nodeKeys(n, reports, k.of()))
	}
	for _, id := range k.known(ring, out.Nodes, count) {
		out.Keys = append(out.Keys, k.use(id, ring, out.Nodes, count[id]))
	}
	return out, nil
}

func nodeKeys(n fleet.Node, reports []fleet.Report, of handlers.KeysOf) NodeKeys {
	out := NodeKeys{Node: n.Name, InService: n.InService(), Keys: []string{}}
	for _, r := range reports {
		if r.Node == n.Name {
			out.Keys, out.StaleCopies = append(out.Keys, of(r)...), r.StaleCopies
		}
	}
	return out
}

// sealingOf is what the leader reports of its work; nil if nobody does.
func sealingOf(reports []fleet.Report) *fleet.Sealing {
	for i := range reports {
		if reports[i].Sealing.Key != "" {
			return &reports[i].Sealing
		}
	}
	return nil
}

// known are the ids of all keys: those of the file first, in its order.
func (k *Keyrings) known(ring *seal.Keyring, nodes []NodeKeys, count map[string]int) []string {
	ids := ring.IDs()
	others := slices.Collect(maps.Keys(count))
	for _, n := range nodes {
		others = append(others, n.Keys...)
	}
	slices.Sort(others)
	for _, id := range slices.Compact(others) {
		if id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (k *Keyrings) use(id string, ring *seal.Keyring, nodes []NodeKeys, records int) KeyUse {
	u := KeyUse{ID: id, Records: records}
	switch {
	case id == ring.Sealing():
		u.Role = "seals"
	case id == ring.Next():
		u.Role = "next"
	case ring.Has(id):
		u.Role = "opens"
	}
	for _, n := range nodes {
		switch {
		case len(n.Keys) > 0 && n.Keys[0] == id:
			u.Seals = append(u.Seals, n.Node)
		case n.InService && !slices.Contains(n.Keys, id) && (len(n.Keys) > 0 || !k.leaders):
			u.Lacking = append(u.Lacking, n.Node)
		}
	}
	return u
}

// String is one line of it for logs and tests.
func (u KeyUse) String() string {
	return fmt.Sprintf("%s %s %d records, seals on %v, lacking on %v", u.ID, u.Role, u.Records, u.Seals, u.Lacking)
}
