package agent

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/handlers"
)

// Policy is an ACL policy for Consul.
type Policy struct {
	Name string // for `consul acl policy create -name`
	HCL  string
	JSON []byte
}

// PolicyFor is the least that a role's token needs. Node and consulNode, which
// is the node's own name if it is empty, are not for the role operator, nor are
// services, which sites have backends from. The error says which of them is wrong.
func PolicyFor(role, fleet, node, consulNode string, services ...string) (Policy, error) {
	h := holder(store.Role(role), fleet, node, consulNode)
	h.Services = services
	if err := h.Check(); err != nil {
		return Policy{}, fmt.Errorf("make policy: %w", err)
	}
	rights := h.Rights()
	text, err := store.RulesJSON(rights)
	if err != nil {
		return Policy{}, err
	}
	p := Policy{Name: "tlsfleet-" + plain(fleet) + "-" + role, HCL: store.RulesHCL(rights), JSON: text}
	if h.Role != store.RoleOperator {
		p.Name += "-" + plain(node)
	}
	return p, nil
}

func holder(role store.Role, fleet, node, consulNode string) store.Holder {
	return store.Holder{Role: role, Fleet: fleet, Node: node, ConsulNode: consulNode, Events: slices.Clone(handlers.EventNames())}
}

// plain is a name as a Consul policy may have it.
func plain(name string) string { return strings.ReplaceAll(name, ".", "-") }
