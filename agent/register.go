package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// registerSchema is the version of the file.
const registerSchema = 1

// maxRegister is the largest file in bytes that is read.
const maxRegister = 16 << 20

var errRegister = errors.New("not a usable register of admitted nodes")

// admission is one node that was admitted.
type admission struct {
	Recipient  string `json:"recipient"`
	Generation uint64 `json:"generation"` // the last that was signed
}

// register is which nodes the operator has admitted. It is a file beside the
// operator's key and nothing in Consul: who writes there, or restores a snapshot,
// would bring a node back that was revoked, and the next rotation would wrap the
// new key for it. One that is open keeps others from opening it.
type register struct {
	Schema   int                  `json:"schema"`
	Fleet    string               `json:"fleet"`
	Nodes    map[string]admission `json:"nodes"`
	Revoking map[string][]string  `json:"revoking"` // by node: ids of the keys that it has; until all of them are replaced
	Revoked  []string             `json:"revoked"`  // recipients that are never admitted again

	path     string
	operator *seal.Operator
	lock     *os.File
}

// openRegister reads the operator's key and the register, which is empty if there
// is none; ErrNoOperator if the key is not on this host.
func openRegister(k config.Keyring, fleetName string) (*register, error) {
	operator, err := seal.LoadOperator(k.OperatorKeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNoOperator, k.OperatorKeyFile)
	}
	if err != nil {
		return nil, err
	}
	lock, err := os.Open(k.OperatorKeyFile)
	if err != nil {
		return nil, fmt.Errorf("lock register: %w", err)
	}
	r := &register{path: k.RegisterFile(fleetName), operator: operator, lock: lock}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock register: %w", err), lock.Close())
	}
	if err := r.read(fleetName); err != nil {
		return nil, errors.Join(fmt.Errorf("read register %s: %w", r.path, err), lock.Close())
	}
	return r, nil
}

// Close lets others open it.
func (r *register) Close() error { return r.lock.Close() }

func (r *register) read(fleetName string) error {
	text, err := seal.ReadPrivate(r.path, maxRegister)
	if errors.Is(err, fs.ErrNotExist) {
		r.Schema, r.Fleet = registerSchema, fleetName
		r.Nodes, r.Revoking = map[string]admission{}, map[string][]string{}
		return nil
	}
	if err != nil {
		return err
	}
	const hint = "bring back a copy of it, or remove it and admit every node again"
	if err := json.Unmarshal(text, r); err != nil || r.Schema != registerSchema || r.Fleet != fleetName {
		return fmt.Errorf("%w: not one of the fleet %s in a form that this version reads: %s", errRegister, fleetName, hint)
	}
	if r.Nodes == nil || r.Revoking == nil {
		return fmt.Errorf("%w: parts of it are missing: %s", errRegister, hint)
	}
	used := map[string]bool{}
	for _, recipient := range r.Revoked {
		used[recipient] = true
	}
	for node, a := range r.Nodes {
		if err := errors.Join(fleet.CheckName(node), seal.CheckRecipient(a.Recipient)); err != nil {
			return fmt.Errorf("%w: node %.80q: %w: %s", errRegister, node, err, hint)
		}
		if used[a.Recipient] {
			return fmt.Errorf("%w: node %.80q has an identity that was revoked or that another node has: %s", errRegister, node, hint)
		}
		used[a.Recipient] = true
	}
	return nil
}

func (r *register) save() error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = seal.WritePrivate(r.path, append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write register %s: %w", r.path, err)
	}
	return nil
}

// admit notes a node and returns the recipient that it had before.
func (r *register) admit(node, recipient string) (before string, err error) {
	if slices.Contains(r.Revoked, recipient) {
		return "", fmt.Errorf("admit %s: %w", node, ErrRevoked)
	}
	if _, under := r.Revoking[node]; under {
		return "", fmt.Errorf("admit %s: %w", node, ErrRevoking)
	}
	for other, a := range r.Nodes {
		// To revoke one of them would leave the other one with the keyring.
		if other != node && a.Recipient == recipient {
			return "", fmt.Errorf("admit %s: %w: %s", node, ErrAdmittedAs, other)
		}
	}
	before = r.Nodes[node].Recipient
	r.Nodes[node] = admission{recipient, r.Nodes[node].Generation}
	return before, nil
}

// check reads what is in Consul for a node. The error says why that is not what was
// wrapped for it last.
func (r *register) check(node string, rec store.GrantRecord) (seal.Grant, error) {
	a, admitted := r.Nodes[node]
	switch {
	case !admitted:
		return seal.Grant{}, ErrNotAdmitted
	case rec.Index == 0:
		return seal.Grant{Recipient: a.Recipient}, errors.New("it is not in Consul any more, tlsfleet keyring rotate writes it again")
	}
	g, err := r.operator.Public().Verify(rec.Record, r.Fleet, node)
	if err == nil && (g.Recipient != a.Recipient || g.Generation != a.Generation) {
		err = fmt.Errorf("%w: generation %d is not %d, the last that was wrapped", seal.ErrGrant, g.Generation, a.Generation)
	}
	if err != nil {
		return seal.Grant{Recipient: a.Recipient}, err
	}
	return g, nil
}

// signed is what the operator has signed for a node, whenever that was.
func (r *register) signed(node string, rec store.GrantRecord) seal.Grant {
	g, err := r.operator.Public().Verify(rec.Record, r.Fleet, node)
	if err != nil {
		return seal.Grant{}
	}
	return g
}

// revoke strikes a node off and notes which keys it has and its recipients.
func (r *register) revoke(node string, recipients, keys []string) {
	r.Revoked = union(r.Revoked, recipients)
	r.Revoking[node] = union(r.Revoking[node], keys)
	delete(r.Nodes, node)
}

// union is what is in either list, sorted, once each.
func union(a, b []string) []string {
	all := slices.DeleteFunc(slices.Concat(a, b), func(s string) bool { return s == "" })
	slices.Sort(all)
	return slices.Compact(all)
}
