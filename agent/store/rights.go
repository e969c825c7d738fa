package store

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Role says what a Consul token is for.
type Role string

// The roles.
const (
	RoleAgent    Role = "agent"    // the agent of one node that never leads (leader.eligible = false)
	RoleLeader   Role = "leader"   // the agent of one node that may lead
	RoleOperator Role = "operator" // the command line: certificates, domains, rotations, status
)

// Roles lists the roles, the narrowest first.
func Roles() []Role { return []Role{RoleAgent, RoleLeader, RoleOperator} }

// Right is one rule of a Consul ACL policy: what Consul calls a resource, a
// segment and a policy.
type Right struct {
	Resource string // "key", "session", "node", "agent", "service", "event"
	Segment  string
	Prefix   bool   // the segment is the beginning of what is meant
	Policy   string // "read", "list" (keys only: read and list) or "write" (all of it)
}

// Holder is who a token is for.
type Holder struct {
	Role       Role
	Fleet      string
	Node       string   // of tlsfleet; not for RoleOperator
	ConsulNode string   // the Consul agent's that Node talks to; empty: Node
	Events     []string // names of Consul events that agents act on
	Services   []string // in Consul's catalog, that sites have backends from
}

// Check refuses a holder whose rights would be those of somebody else.
func (h Holder) Check() error {
	if !slices.Contains(Roles(), h.Role) {
		return fmt.Errorf("role %q is not known: %q", h.Role, Roles())
	}
	err := named("fleet", h.Fleet)
	if h.Role != RoleOperator {
		err = errors.Join(err, named("node", h.Node), named("Consul node", cmp.Or(h.ConsulNode, h.Node)))
	}
	for _, name := range h.Services {
		if name == "" || len(name) > 128 {
			err = errors.Join(err, fmt.Errorf("service %.140q: %w", name, fleet.ErrName))
		}
	}
	return err
}

func named(what, name string) error {
	if err := fleet.CheckName(name); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// Rights is all that the holder's token needs, and nothing else. Where Consul
// cannot be narrower it says so in docs/operations.md, "Access".
func (h Holder) Rights() []Right {
	switch h.Role {
	case RoleLeader:
		return slices.Concat(h.own(), h.leading(), h.backends())
	case RoleOperator:
		return h.operating()
	default:
		return slices.Concat(h.own(), h.following(), h.backends())
	}
}

// own is what every agent needs of its node.
func (h Holder) own() []Right {
	consulNode := cmp.Or(h.ConsulNode, h.Node)
	rights := []Right{
		h.key(reportsPath+h.Node, "write"),
		h.key(grantPath(h.Node), "read"),
		h.keys(reloadPath, "list"),
		h.keys(slotsPath, "write"),              // which of them a node takes is not known before
		{"session", consulNode, false, "write"}, // a prefix would let it end the leader's
		{"agent", consulNode, false, "read"},
		{"service", serviceName, false, "write"},
	}
	for _, name := range h.Events {
		rights = append(rights, Right{"event", name, false, "read"})
	}
	return rights
}

// following is what an agent needs of the fleet that it follows.
func (h Holder) following() []Right {
	return []Right{
		h.key(ringPath, "read"),
		h.key(headPath, "read"),
		h.keys(shardsPath, "read"),
		h.keys(bundlesPath, "read"),
		h.keys(chainsPath, "read"),
		h.key(answerPath, "read"),
		h.keys(challengesPath, "read"),
		h.keys(sitesPath, "read"),
		h.keys(wavesPath, "read"),
		h.keys(reportsPath, "read"), // whom to offer tickets to, and where
		{"node", "", true, "read"},
	}
}

// backends is what an agent needs to see the instances of services, beside the
// right to read nodes: Consul hides each from who may not read its node.
func (h Holder) backends() []Right {
	var rights []Right
	for _, name := range h.Services {
		rights = append(rights, Right{"service", name, false, "read"})
	}
	return rights
}

// leading is what an agent needs that may lead, beside own.
func (h Holder) leading() []Right {
	return []Right{
		h.key(leaderPath, "write"),
		h.key(metaPath, "write"),
		h.key(limitPath, "write"),
		h.key(sealStatePath, "write"),
		h.key(rotationPath, "read"),
		h.key(ringPath, "write"),
		h.keys(inventoryPath, "write"),
		h.keys(bundlesPath, "write"),
		h.keys(chainsPath, "write"),
		h.keys(reportsPath, "list"),
		h.keys(issuancePath, "write"),
		h.keys(intakePath, "write"),
		h.key(accountPath, "write"),
		h.key(answerPath, "write"),
		h.keys(ledgersPath, "write"),
		h.keys(challengesPath, "write"),
		h.keys(sitesPath, "read"),
		h.keys(wavesPath, "write"),
		{"node", "", true, "read"},
	}
}

// operating is what the command line needs.
func (h Holder) operating() []Right {
	return []Right{
		h.key(metaPath, "read"),
		h.key(leaderPath, "read"),
		h.key(rotationPath, "write"),
		h.keys(grantsPath, "write"),
		h.key(sealStatePath, "read"),
		h.key(ringPath, "write"),
		h.keys(inventoryPath, "write"),
		h.keys(bundlesPath, "write"),
		h.keys(chainsPath, "write"),
		h.keys(reportsPath, "list"),
		h.keys(issuancePath, "list"),
		h.keys(intakePath, "write"),
		h.key(answerPath, "read"),
		h.keys(ledgersPath, "read"),
		h.keys(sitesPath, "write"),
		h.key(wavePath, "read"),
		h.keys(reloadPath, "list"),
		{"service", serviceName, false, "read"},
		{"node", "", true, "read"},
	}
}

func (h Holder) key(path, policy string) Right {
	return Right{"key", root + h.Fleet + "/" + path, false, policy}
}

func (h Holder) keys(path, policy string) Right {
	r := h.key(path, policy)
	r.Prefix = true
	return r
}
