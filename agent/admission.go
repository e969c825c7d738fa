package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// Errors of handing out the keyring.
var (
	// ErrNoOperator means that the operator's key is not on this host.
	ErrNoOperator = errors.New("the operator's key is not on this host")
	// ErrHandedOut means that this host's keyring is one that it got from Consul.
	ErrHandedOut = errors.New("the keyring of this host comes from Consul (keyring.from), so that it is not changed here")
	// ErrServing means that a node to be revoked still counts as one of the fleet.
	ErrServing = errors.New("the node is in service")
	// ErrNotAdmitted means that a node has no keyring in Consul.
	ErrNotAdmitted = errors.New("the node was not admitted from here")
	// ErrRevoking means that a node is being revoked and still can open what is written.
	ErrRevoking = errors.New("the node is being revoked")
	// ErrAdmittedAs means that another node has the same identity.
	ErrAdmittedAs = errors.New("this identity is admitted already, as another node")
	// ErrRevoked means that what opens a keyring is with a node that was revoked.
	ErrRevoked = errors.New("this identity was revoked")
)

// AdmittedNode is one node of `tlsfleet node list`.
type AdmittedNode struct {
	Node       string   `json:"node"`
	Recipient  string   `json:"recipient,omitempty"`
	Generation uint64   `json:"generation,omitempty"`
	Keys       []string `json:"keys"`            // ids, as it was wrapped
	Has        []string `json:"has"`             // ids, as it reports
	Err        string   `json:"error,omitempty"` // why what is in Consul is not what was wrapped
}

// own refuses a host whose keyring is not a person's to change.
func (k *Keyrings) own() error {
	if !k.leaders && k.cfg.Keyring.From == config.KeyringConsul {
		return ErrHandedOut
	}
	return nil
}

// grants is what is in Consul, by node.
func (k *Keyrings) grants(ctx context.Context) (map[string]store.GrantRecord, error) {
	list, err := k.store.Grants(ctx)
	if err != nil {
		return nil, err
	}
	byNode := map[string]store.GrantRecord{}
	for _, rec := range list {
		byNode[rec.Node] = rec
	}
	return byNode, nil
}

// Admitted lists the nodes that get their keyring from Consul, and those that have
// a record there which was not made for them, or not any more.
func (k *Keyrings) Admitted(ctx context.Context) (list []AdmittedNode, err error) {
	reg, err := openRegister(k.cfg.Keyring, k.cfg.Fleet)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, reg.Close()) }()
	grants, err := k.grants(ctx)
	if err != nil {
		return nil, err
	}
	_, reports, err := k.members(ctx)
	if err != nil {
		return nil, err
	}
	nodes := union(slices.Collect(maps.Keys(reg.Nodes)), slices.Collect(maps.Keys(grants)))
	list = make([]AdmittedNode, 0, len(nodes))
	for _, node := range nodes {
		n := AdmittedNode{Node: node, Keys: []string{}, Has: []string{}}
		g, why := reg.check(node, grants[node])
		if n.Recipient, n.Generation = g.Recipient, g.Generation; why != nil {
			n.Err = why.Error()
		}
		n.Keys = append(n.Keys, g.Keys...)
		for _, r := range reports {
			if r.Node == node {
				n.Has = append(n.Has, r.Keys...)
			}
		}
		list = append(list, n)
	}
	return list, nil
}

// all is the keyring, the register, which the caller closes, and what is in Consul.
func (k *Keyrings) all(ctx context.Context) (*seal.Keyring, *register, map[string]store.GrantRecord, error) {
	ring, err := seal.Load(k.path)
	if err != nil {
		return nil, nil, nil, err
	}
	reg, err := openRegister(k.cfg.Keyring, k.cfg.Fleet)
	if err != nil {
		return nil, nil, nil, err
	}
	grants, err := k.grants(ctx)
	if err != nil {
		return nil, nil, nil, errors.Join(err, reg.Close())
	}
	return ring, reg, grants, nil
}

// Admission is what came of Admit.
type Admission struct {
	Operator seal.OperatorKey // the node has to have it in its configuration
	Before   string           // another recipient that the node had; what that has read it keeps
}

// Admit wraps the keyring for a node, by the recipient that it prints. A node that
// was admitted before gets a new one.
func (k *Keyrings) Admit(ctx context.Context, node, recipient string) (done Admission, err error) {
	if err := fleet.CheckName(node); err != nil {
		return done, fmt.Errorf("admit node: %w", err)
	}
	if err := seal.CheckRecipient(recipient); err != nil {
		return done, fmt.Errorf("admit node: %w", err)
	}
	if err := k.own(); err != nil {
		return done, err
	}
	ring, reg, grants, err := k.all(ctx)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, reg.Close()) }()
	before, err := reg.admit(node, recipient)
	if err != nil {
		return done, err
	}
	if done.Operator = reg.operator.Public(); before != recipient {
		done.Before = before
	}
	return done, k.wrap(ctx, reg, node, grants[node], ring)
}

// wrap writes the keyring of a node that is in the register in place of rec.
func (k *Keyrings) wrap(ctx context.Context, reg *register, node string, rec store.GrantRecord, ring *seal.Keyring) error {
	g := seal.Grant{Fleet: k.cfg.Fleet, Node: node, Recipient: reg.Nodes[node].Recipient}
	last := max(reg.Nodes[node].Generation, reg.signed(node, rec).Generation) // the register may be an old copy
	g.Generation = seal.NextGeneration(last, time.Now().UnixMilli())
	reg.Nodes[node] = admission{g.Recipient, g.Generation}
	if err := reg.save(); err != nil {
		return err
	}
	record, err := reg.operator.Wrap(g, ring)
	if err != nil {
		return err
	}
	return k.store.PutGrant(ctx, node, record, rec.Index)
}

// hand brings the keyring that is in the file to every node that was admitted, and
// to no other one, whatever is in Consul. It does nothing for those that have it, so
// that it may be done at any time.
func (k *Keyrings) hand(ctx context.Context, ring *seal.Keyring) (err error) {
	if k.leaders {
		return nil
	}
	grants, err := k.grants(ctx)
	if err != nil {
		return err
	}
	reg, err := openRegister(k.cfg.Keyring, k.cfg.Fleet)
	if errors.Is(err, ErrNoOperator) && len(grants) == 0 {
		return nil // all nodes have a file
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reg.Close()) }()
	var errs []error
	for _, node := range slices.Sorted(maps.Keys(reg.Nodes)) {
		if g, why := reg.check(node, grants[node]); why != nil || !g.Fresh(ring) {
			errs = append(errs, k.wrap(ctx, reg, node, grants[node], ring))
		}
		delete(grants, node)
	}
	for node := range grants {
		k.log.Error("a keyring in Consul for a node that was not admitted from here or was revoked, not renewed", "node", node)
	}
	return errors.Join(errs...)
}
