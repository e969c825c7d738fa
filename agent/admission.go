package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// Errors of handing out the keyring.
var (
	// ErrNoOperator means that the operator's key is not on this host.
	ErrNoOperator = errors.New("nodes get their keyring from the operator, whose key is not on this host")
	// ErrHandedOut means that this host's keyring is one that it got from Consul.
	ErrHandedOut = errors.New("the keyring of this host comes from Consul (keyring.from), so that it is not changed here")
	// ErrServing means that a node to be revoked still counts as one of the fleet.
	ErrServing = errors.New("the node is in service")
	// ErrNotAdmitted means that a node has no keyring in Consul.
	ErrNotAdmitted = errors.New("the node was not admitted")
)

// AdmittedNode is one node of `tlsfleet node list`.
type AdmittedNode struct {
	Node       string   `json:"node"`
	Recipient  string   `json:"recipient,omitempty"`
	Generation uint64   `json:"generation,omitempty"`
	Keys       []string `json:"keys"`            // ids, as it was wrapped
	Has        []string `json:"has"`             // ids, as it reports
	Err        string   `json:"error,omitempty"` // why the record is refused
}

// operator is the operator's key; ErrNoOperator if it is not here.
func (k *Keyrings) operator() (*seal.Operator, error) {
	o, err := seal.LoadOperator(k.cfg.Keyring.OperatorKeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNoOperator, k.cfg.Keyring.OperatorKeyFile)
	}
	return o, err
}

// own refuses a host whose keyring is not a person's to change.
func (k *Keyrings) own() error {
	if !k.leaders && k.cfg.Keyring.From == config.KeyringConsul {
		return ErrHandedOut
	}
	return nil
}

// Admitted lists the nodes that get their keyring from Consul.
func (k *Keyrings) Admitted(ctx context.Context) ([]AdmittedNode, error) {
	o, err := k.operator()
	if err != nil {
		return nil, err
	}
	grants, err := k.store.Grants(ctx)
	if err != nil {
		return nil, err
	}
	_, reports, err := k.members(ctx)
	if err != nil {
		return nil, err
	}
	list := []AdmittedNode{}
	for _, rec := range grants {
		n := AdmittedNode{Node: rec.Node, Keys: []string{}, Has: []string{}}
		if g, err := o.Public().Verify(rec.Record, k.cfg.Fleet, rec.Node); err != nil {
			n.Err = err.Error()
		} else {
			n.Recipient, n.Generation, n.Keys = g.Recipient, g.Generation, g.Keys
		}
		for _, r := range reports {
			if r.Node == rec.Node {
				n.Has = append(n.Has, r.Keys...)
			}
		}
		list = append(list, n)
	}
	return list, nil
}

// Admit wraps the keyring for a node, by the recipient that it prints, and returns
// the key that the node has to have in its configuration. A node that was admitted
// before gets a new one.
func (k *Keyrings) Admit(ctx context.Context, node, recipient string) (seal.OperatorKey, error) {
	if err := fleet.CheckName(node); err != nil {
		return seal.OperatorKey{}, fmt.Errorf("admit node: %w", err)
	}
	if err := seal.CheckRecipient(recipient); err != nil {
		return seal.OperatorKey{}, fmt.Errorf("admit node: %w", err)
	}
	if err := k.own(); err != nil {
		return seal.OperatorKey{}, err
	}
	ring, err := seal.Load(k.path)
	if err != nil {
		return seal.OperatorKey{}, err
	}
	o, _, err := seal.EnsureOperator(k.cfg.Keyring.OperatorKeyFile)
	if err != nil {
		return seal.OperatorKey{}, err
	}
	grants, err := k.store.Grants(ctx)
	if err != nil {
		return seal.OperatorKey{}, err
	}
	rec := store.GrantRecord{Node: node}
	if i := slices.IndexFunc(grants, func(r store.GrantRecord) bool { return r.Node == node }); i >= 0 {
		rec = grants[i]
	}
	return o.Public(), k.wrap(ctx, o, rec, recipient, ring)
}

// wrap writes the keyring of one node in place of the one that it had.
func (k *Keyrings) wrap(ctx context.Context, o *seal.Operator, rec store.GrantRecord, recipient string, ring *seal.Keyring) error {
	var was seal.Grant
	if rec.Index > 0 {
		if g, err := o.Public().Verify(rec.Record, k.cfg.Fleet, rec.Node); err == nil {
			was = g
		}
	}
	g := seal.Grant{Fleet: k.cfg.Fleet, Node: rec.Node, Recipient: recipient, Generation: was.NextGeneration(time.Now().UnixMilli())}
	record, err := o.Wrap(g, ring)
	if err != nil {
		return err
	}
	return k.store.PutGrant(ctx, rec.Node, record, rec.Index)
}

// hand brings the keyring that is in the file to every node that was admitted. It
// does nothing for those that have it, so that it may be done at any time. A record
// that somebody else has written is an error: it would never be followed.
func (k *Keyrings) hand(ctx context.Context, ring *seal.Keyring) error {
	if k.leaders {
		return nil
	}
	grants, err := k.store.Grants(ctx)
	if err != nil || len(grants) == 0 {
		return err
	}
	o, err := k.operator()
	if err != nil {
		return err
	}
	var errs []error
	for _, rec := range grants {
		g, err := o.Public().Verify(rec.Record, k.cfg.Fleet, rec.Node)
		if err != nil {
			errs = append(errs, fmt.Errorf("keyring of %s in Consul: %w: admit the node again, or revoke it", rec.Node, err))
			continue
		}
		if !g.Fresh(ring) {
			errs = append(errs, k.wrap(ctx, o, rec, g.Recipient, ring))
		}
	}
	return errors.Join(errs...)
}

// RevokeRequest is what an operator asks for.
type RevokeRequest struct {
	Node    string
	By      string // who asks, for the record of the ticket keys
	Keyring KeyringRequest
	Tickets func(Progress)
}

// Revoked says what was done.
type Revoked struct {
	Node  string `json:"node"`
	Key   string `json:"key"`        // what seals now
	Epoch uint64 `json:"ring_epoch"` // of the fresh ticket keys
}

// Revoke takes a node's keyring away, replaces every key that it had, and all
// ticket keys. It may be called again, and goes on from where it stopped. The node
// must not be in service any more (ErrServing): it would hold up each step.
func (k *Keyrings) Revoke(ctx context.Context, q RevokeRequest) (Revoked, error) {
	done := Revoked{Node: q.Node}
	if err := k.own(); err != nil {
		return done, err
	}
	nodes, _, err := k.members(ctx)
	if err != nil {
		return done, err
	}
	if slices.ContainsFunc(nodes, func(n fleet.Node) bool { return n.Name == q.Node && n.InService() }) {
		return done, fmt.Errorf("revoke %s: %w", q.Node, ErrServing)
	}
	ring, err := seal.Load(k.path)
	if err != nil {
		return done, err
	}
	r := &keyringRotation{Keyrings: k, q: q.Keyring}
	tainted, err := r.taint(ctx, q.Node, ring)
	if err != nil {
		return done, err
	}
	for slices.Contains(tainted, ring.Sealing()) {
		rotated, err := k.Rotate(ctx, q.Keyring)
		if err != nil {
			return done, err
		}
		done.Key = rotated.Key
		if ring, err = seal.Load(k.path); err != nil {
			return done, err
		}
	}
	done.Key = ring.Sealing()
	console := &Console{cfg: k.cfg, store: k.store}
	tickets, err := console.Rotate(ctx, RotateRequest{By: q.By, Emergency: true, Progress: q.Tickets})
	done.Epoch = tickets.Epoch
	if err != nil {
		return done, err
	}
	return done, r.edit(ctx, func(rot *store.Rotation) { rot.Tainted = "" })
}

// taint notes which keys the node has, and then takes its keyring away. Called
// again it returns those of the first time.
func (r *keyringRotation) taint(ctx context.Context, node string, ring *seal.Keyring) ([]string, error) {
	grants, err := r.store.Grants(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(grants, func(g store.GrantRecord) bool { return g.Node == node })
	rotation, err := r.store.Rotation(ctx)
	if err != nil {
		return nil, err
	}
	if i < 0 && rotation.Rotation.Tainted == "" {
		return nil, fmt.Errorf("revoke %s: %w: a host with the keyring in a file keeps it: rotate the keyring without it", node, ErrNotAdmitted)
	}
	tainted := strings.Fields(rotation.Rotation.Tainted)
	if i < 0 {
		return tainted, nil
	}
	for _, id := range ring.IDs() { // keys made since another node was revoked are known to this one
		if !slices.Contains(tainted, id) {
			tainted = append(tainted, id)
		}
	}
	if err := r.edit(ctx, func(rot *store.Rotation) { rot.Tainted = strings.Join(tainted, " ") }); err != nil {
		return nil, err
	}
	return tainted, r.store.DropGrant(ctx, grants[i])
}
