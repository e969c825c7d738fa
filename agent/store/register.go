package store

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/consul"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// The agent's service in Consul's catalog.
const (
	serviceName = "tlsfleet"
	metaFleet   = "fleet"
	metaNode    = "node"
	metaVersion = "version"
)

// Registration is what a node says of itself to Consul's catalog.
type Registration struct {
	Node    string
	Address string        // empty: that of the Consul node
	Version string        // of tlsfleet
	TTL     time.Duration // the service is critical that long after the last Beat
}

// Register announces the node to the local Consul agent, as service tlsfleet
// with the fleet as its tag, or renews that. It keeps the service's maintenance
// mode and the state of its check. Consul never removes the service by itself: a
// dead agent does not mean that its nginx stopped serving.
func (s *Store) Register(ctx context.Context, r Registration) error {
	if err := fleet.CheckName(r.Node); err != nil {
		return fmt.Errorf("register node: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	service := &api.AgentServiceRegistration{
		ID: s.serviceID(r.Node), Name: serviceName, Tags: []string{s.fleet}, Address: r.Address,
		Meta: map[string]string{metaFleet: s.fleet, metaNode: r.Node, metaVersion: r.Version},
		Check: &api.AgentServiceCheck{
			CheckID: s.checkID(r.Node), Name: "tlsfleet agent of " + r.Node,
			TTL: r.TTL.String(), Status: api.HealthCritical,
		},
	}
	// Consul would take the maintenance check away with ReplaceExistingChecks.
	err := s.client.Agent().ServiceRegisterOpts(service, api.ServiceRegisterOpts{}.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("register node %s: %w", r.Node, denied(err))
	}
	return nil
}

// Beat tells Consul that the agent of the node is alive, with a note for
// people. ErrUnregistered if Consul does not know the node (any more): Register
// again.
func (s *Store) Beat(ctx context.Context, node string, healthy bool, note string) error {
	status := api.HealthPassing
	if !healthy {
		status = api.HealthCritical
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	err := s.client.Agent().UpdateTTLOpts(s.checkID(node), note, status, new(api.QueryOptions).WithContext(ctx))
	if err != nil {
		return fmt.Errorf("beat of node %s: %w", node, unregistered(err))
	}
	return nil
}

// Deregister takes the node out of the fleet's catalog: it no longer has to
// prove a ring. ErrUnregistered if it was not in.
func (s *Store) Deregister(ctx context.Context, node string) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	err := s.client.Agent().ServiceDeregisterOpts(s.serviceID(node), new(api.QueryOptions).WithContext(ctx))
	if err != nil {
		return fmt.Errorf("deregister node %s: %w", node, unregistered(err))
	}
	return nil
}

func (s *Store) serviceID(node string) string { return serviceName + "-" + s.fleet + "-" + node }

func (s *Store) checkID(node string) string { return "service:" + s.serviceID(node) }

// unregistered adds ErrUnregistered to Consul's answer 404.
func unregistered(err error) error {
	if consul.Status(err) == http.StatusNotFound {
		return fmt.Errorf("%w: %w", ErrUnregistered, err)
	}
	return denied(err)
}
