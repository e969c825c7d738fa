package store

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/consul"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// The checks that Consul's maintenance mode puts on a node or a service
// (structs.NodeMaint, structs.ServiceMaintPrefix).
const (
	nodeMaintenance    = "_node_maintenance"
	serviceMaintenance = "_service_maintenance:"
)

// Nodes lists the members of the fleet in Consul's catalog, sorted by name. A
// member stays listed when its agent or its host dies, until it is deregistered.
// If several registrations claim one name, as after a host was renamed, the
// healthy one counts, or else the newest. An error, never a short list, if
// Consul does not vouch for the list being whole.
func (s *Store) Nodes(ctx context.Context) ([]fleet.Node, error) {
	q, cancel := read(ctx)
	defer cancel()
	entries, meta, err := s.client.Health().Service(serviceName, s.fleet, false, q)
	if err == nil {
		err = consul.Vouched(meta)
	}
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", denied(err))
	}
	newest := map[string]registered{}
	for _, e := range entries {
		name := e.Service.Meta[metaNode]
		if e.Service.Meta[metaFleet] != s.fleet || fleet.CheckName(name) != nil {
			s.log.Debug("registration ignored", "service", e.Service.ID, "consul_node", e.Node.Node)
			continue
		}
		r := registration(e, name)
		if old, ok := newest[name]; !ok || r.beats(old) {
			newest[name] = r
		}
	}
	nodes := make([]fleet.Node, 0, len(newest))
	for r := range maps.Values(newest) {
		nodes = append(nodes, r.node)
	}
	slices.SortFunc(nodes, func(a, b fleet.Node) int { return cmp.Compare(a.Name, b.Name) })
	return nodes, nil
}

type registered struct {
	node  fleet.Node
	index uint64 // of its last change in the catalog
}

func (r registered) beats(old registered) bool {
	if r.node.Healthy != old.node.Healthy {
		return r.node.Healthy
	}
	return r.index > old.index
}

func registration(e *api.ServiceEntry, name string) registered {
	n := fleet.Node{Name: name, Address: cmp.Or(e.Service.Address, e.Node.Address), Healthy: true}
	for _, c := range e.Checks {
		switch c.CheckID {
		case nodeMaintenance, serviceMaintenance + e.Service.ID:
			n.Maintenance = true
		default:
			n.Healthy = n.Healthy && c.Status == api.HealthPassing
		}
	}
	return registered{node: n, index: e.Service.ModifyIndex}
}
