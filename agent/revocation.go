package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/seal"
)

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
	if err := fleet.CheckName(q.Node); err != nil {
		return done, fmt.Errorf("revoke node: %w", err)
	}
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
	known, err := k.strike(ctx, q.Node)
	if err != nil {
		return done, err
	}
	if done.Key, err = k.replaceAll(ctx, known, q.Keyring); err != nil {
		return done, err
	}
	console := &Console{cfg: k.cfg, store: k.store}
	tickets, err := console.Rotate(ctx, RotateRequest{By: q.By, Emergency: true, Progress: q.Tickets})
	done.Epoch = tickets.Epoch
	if err != nil {
		return done, err
	}
	return done, k.through(q.Node)
}

// strike strikes the node off the register, where it notes which keys it has, and
// takes its keyring out of Consul. Called again it returns the keys of the first time.
func (k *Keyrings) strike(ctx context.Context, node string) (known []string, err error) {
	ring, reg, grants, err := k.all(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, reg.Close()) }()
	rec, granted := grants[node]
	a, admitted := reg.Nodes[node]
	known, under := reg.Revoking[node]
	if !granted && !admitted && !under {
		return nil, fmt.Errorf("revoke %s: %w: a host with the keyring in a file keeps it: rotate the keyring without it", node, ErrNotAdmitted)
	}
	// The first time: what was made since is not for it, even if its record came back.
	if !under {
		was := reg.signed(node, rec)
		reg.revoke(node, []string{a.Recipient, was.Recipient}, union(ring.IDs(), was.Keys))
		if err := reg.save(); err != nil {
			return nil, err
		}
		known = reg.Revoking[node]
	}
	if !granted {
		return known, nil
	}
	return known, k.store.DropGrant(ctx, rec)
}

// replaceAll rotates the keyring until none of the keys is in it and nothing is
// left to do of a rotation. It returns the id of the key that seals then.
func (k *Keyrings) replaceAll(ctx context.Context, known []string, q KeyringRequest) (string, error) {
	for {
		ring, err := seal.Load(k.path)
		if err != nil {
			return "", err
		}
		rotation, err := k.store.Rotation(ctx)
		if err != nil {
			return "", err
		}
		left := slices.ContainsFunc(ring.IDs(), func(id string) bool { return slices.Contains(known, id) })
		if !left && rotation.Rotation.To == "" {
			return ring.Sealing(), nil
		}
		if rotated, err := k.Rotate(ctx, q); err != nil {
			return rotated.Key, err
		}
	}
}

// through notes that the revocation is complete.
func (k *Keyrings) through(node string) (err error) {
	reg, err := openRegister(k.cfg.Keyring, k.cfg.Fleet)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reg.Close()) }()
	delete(reg.Revoking, node)
	return reg.save()
}
