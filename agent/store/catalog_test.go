package store_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/consul"
	"github.com/tlsfleet/tlsfleet/agent/site"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// join registers an instance in the catalog until the test ends.
func (w world) join(t *testing.T, service, address, tag, status string) {
	t.Helper()
	node, id := w.name+"-"+address, service+"-"+address
	_, err := w.client.Catalog().Register(&api.CatalogRegistration{
		Node: node, Address: address,
		Service: &api.AgentService{ID: id, Service: service, Address: address, Port: 80, Tags: []string{tag}, Weights: api.AgentWeights{Passing: 3, Warning: 2}},
		Checks:  api.HealthChecks{{Node: node, CheckID: id, Name: id, ServiceID: id, Status: status}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := w.client.Catalog().Deregister(&api.CatalogDeregistration{Node: node}, nil); err != nil {
			t.Error(err)
		}
	})
}

// TestInstancesAsTheCatalogHasThem reads a service whose instances differ in tag
// and health.
func TestInstancesAsTheCatalogHasThem(t *testing.T) {
	t.Parallel()
	w := shared(t)
	web := w.name + "-web"
	w.join(t, web, "192.0.2.1", "v1", api.HealthPassing)
	w.join(t, web, "192.0.2.2", "v2", api.HealthPassing)
	w.join(t, web, "192.0.2.3", "v2", api.HealthWarning)
	w.join(t, web, "192.0.2.4", "v2", api.HealthCritical)
	all := []site.Backend{{Address: "192.0.2.1:80", Weight: 1}, {Address: "192.0.2.2:80", Weight: 1}, {Address: "192.0.2.3:80", Weight: 1}}
	tests := map[string]struct {
		service store.Service
		want    []site.Backend
	}{
		"passing":           {store.Service{Name: web, PassingOnly: true}, all[:2]},
		"with a warning":    {store.Service{Name: web}, all},
		"of a tag":          {store.Service{Name: web, Tag: "v2", PassingOnly: true}, all[1:2]},
		"weights":           {store.Service{Name: web, Tag: "v2", Weights: true}, []site.Backend{{Address: "192.0.2.2:80", Weight: 3}, {Address: "192.0.2.3:80", Weight: 2}}},
		"of the datacenter": {store.Service{Name: web, Datacenter: "dc1", PassingOnly: true}, all[:2]},
		"another tag":       {store.Service{Name: web, Tag: "v3"}, nil},
		"another service":   {store.Service{Name: web + "x"}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := w.Instances(t.Context(), tt.service)
			if err != nil || !slices.Equal(got.Backends, tt.want) || got.Unusable != 0 {
				t.Errorf("Instances() = %+v, %v, want %v", got, err, tt.want)
			}
		})
	}
	// No site has such a tag, and Consul takes none.
	if got, err := w.Instances(t.Context(), store.Service{Name: web, Tag: `v3" in Service.Tags or "v1`}); err == nil {
		t.Errorf("Instances() of a tag that is a filter = %+v, want an error", got)
	}
	if got, err := w.Instances(t.Context(), store.Service{Name: web, Datacenter: "elsewhere"}); err == nil {
		t.Errorf("Instances() of a datacenter that is not there = %+v, want an error", got)
	}
}

// TestInstancesThatMayNotBeRead: what a token does not see is not gone.
func TestInstancesThatMayNotBeRead(t *testing.T) {
	t.Parallel()
	server := testkit.Consul(t, testkit.ConsulDev(), testkit.ConsulACL())
	w := newWorld(t, server.Addr, server.Token)
	web := w.name + "-web"
	w.join(t, web, "192.0.2.1", "v1", api.HealthPassing)
	service, nodes := `service "`+web+`" { policy = "read" } `, `node_prefix "" { policy = "read" }`
	for name, tt := range map[string]struct {
		rules string
		sees  bool
	}{
		"service and nodes": {service + nodes, true}, "nodes only": {nodes, false}, "service only": {service, false}, "nothing": {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := w.at(t, server.Addr, token(t, server, tt.rules)).Instances(t.Context(), store.Service{Name: web, PassingOnly: true})
			if tt.sees && (err != nil || len(got.Backends) != 1) {
				t.Errorf("Instances() = %+v, %v, want the instance", got, err)
			}
			if !tt.sees && (!errors.Is(err, store.ErrDenied) || !errors.Is(err, consul.ErrFiltered)) {
				t.Errorf("Instances() = %+v, %v, want %v: the list is short", got, err, store.ErrDenied)
			}
		})
	}
}
