package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/site"
)

func instance(address string, port int, status string) *api.ServiceEntry {
	return &api.ServiceEntry{
		Node:    &api.Node{Node: "n", Address: "192.0.2.9"},
		Service: &api.AgentService{ID: "web", Address: address, Port: port, Weights: api.AgentWeights{Passing: 3, Warning: 2}},
		Checks:  api.HealthChecks{{CheckID: "c", Status: status}},
	}
}

func TestInstancesOfService(t *testing.T) {
	passing := instance("192.0.2.1", 80, api.HealthPassing)
	drained := instance("192.0.2.4", 80, api.HealthPassing)
	drained.Service.Weights.Passing = 0
	socket := instance("", 0, api.HealthPassing)
	socket.Service.SocketPath = "/run/app.sock"
	hostile := instance("", 0, api.HealthPassing)
	hostile.Service.SocketPath = "/run/a;} evil"
	one := func(address string, weight int) []site.Backend {
		return []site.Backend{{Address: address, Weight: weight}}
	}
	tests := map[string]struct {
		service  Service
		entries  []*api.ServiceEntry
		want     []site.Backend
		unusable int
	}{
		"none":                   {Service{}, nil, nil, 0},
		"weights":                {Service{Weights: true}, []*api.ServiceEntry{passing}, one("192.0.2.1:80", 3), 0},
		"all the same":           {Service{}, []*api.ServiceEntry{passing}, one("192.0.2.1:80", 1), 0},
		"twice":                  {Service{}, []*api.ServiceEntry{passing, passing}, one("192.0.2.1:80", 1), 0},
		"address of the node":    {Service{}, []*api.ServiceEntry{instance("", 81, api.HealthPassing)}, one("192.0.2.9:81", 1), 0},
		"a warning":              {Service{Weights: true}, []*api.ServiceEntry{instance("2001:db8::1", 80, api.HealthWarning)}, one("[2001:db8::1]:80", 2), 0},
		"a warning, passing":     {Service{PassingOnly: true}, []*api.ServiceEntry{instance("192.0.2.1", 80, api.HealthWarning)}, nil, 0},
		"critical":               {Service{}, []*api.ServiceEntry{instance("192.0.2.1", 80, api.HealthCritical)}, nil, 0},
		"maintenance":            {Service{}, []*api.ServiceEntry{instance("192.0.2.1", 80, api.HealthMaint)}, nil, 0},
		"weight 0":               {Service{Weights: true}, []*api.ServiceEntry{drained}, nil, 0},
		"socket":                 {Service{}, []*api.ServiceEntry{socket}, one("unix:/run/app.sock", 1), 0},
		"host name":              {Service{}, []*api.ServiceEntry{instance("a.test", 80, api.HealthPassing), passing}, one("192.0.2.1:80", 1), 1},
		"no port":                {Service{}, []*api.ServiceEntry{instance("192.0.2.1", 0, api.HealthPassing)}, nil, 1},
		"hostile socket":         {Service{}, []*api.ServiceEntry{hostile}, nil, 1},
		"hostile address, zone":  {Service{}, []*api.ServiceEntry{instance("fe80::1%eth0;}", 80, api.HealthPassing)}, nil, 1},
		"hostile address, words": {Service{}, []*api.ServiceEntry{instance("192.0.2.1:80; }", 80, api.HealthPassing)}, nil, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := tt.service.instances(tt.entries)
			if err != nil || !slices.Equal(got.Backends, tt.want) || got.Unusable != tt.unusable {
				t.Errorf("instances() = %+v, %v, want %v and %d unusable", got, err, tt.want, tt.unusable)
			}
		})
	}
}

func TestInstancesAreBounded(t *testing.T) {
	var entries []*api.ServiceEntry
	for i := range MaxInstances + 1 {
		entries = append(entries, instance(fmt.Sprintf("10.0.%d.%d", i/250, i%250), 80, api.HealthPassing))
	}
	if got, err := (Service{}).instances(entries); !errors.Is(err, ErrInstances) {
		t.Errorf("instances(%d) = %d, %v, want %v", len(entries), len(got.Backends), err, ErrInstances)
	}
	if got, err := (Service{}).instances(entries[1:]); err != nil || len(got.Backends) != MaxInstances {
		t.Errorf("instances(%d) = %d, %v, want all", MaxInstances, len(got.Backends), err)
	}
}

func TestRightsForBackends(t *testing.T) {
	h := Holder{Role: RoleAgent, Fleet: "f", Node: "n"}
	if rights := h.Rights(); slices.ContainsFunc(rights, func(r Right) bool { return r.Resource == "service" && r.Segment != serviceName }) {
		t.Errorf("Rights() = %v without services, want its own one only", rights)
	}
	h.Services = []string{"web"}
	for _, want := range []Right{{"service", "web", false, "read"}, {"node", "", true, "read"}} {
		if rights := h.Rights(); !slices.Contains(rights, want) {
			t.Errorf("Rights() = %v, want %v", rights, want)
		}
	}
	h.Services = []string{""}
	if err := h.Check(); err == nil {
		t.Error("Check() = nil for a service without a name, which would be a right to all")
	}
}
