package store_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// awaitNodes waits for the catalog, which follows the agent after a moment.
func (w world) awaitNodes(t *testing.T, want ...fleet.Node) {
	t.Helper()
	testkit.Eventually(t, soon, fmt.Sprintf("nodes %v", want), func() error {
		nodes, err := w.Nodes(t.Context())
		if err == nil && fmt.Sprint(nodes) != fmt.Sprint(want) {
			err = fmt.Errorf("nodes %v", nodes)
		}
		return err
	})
}

func (w world) register(t *testing.T, node string) {
	t.Helper()
	err := w.Register(t.Context(), store.Registration{Node: node, Address: "10.0.0.1", Version: "test", TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.client.Agent().ServiceDeregister(w.service(node)); err != nil && !isUnknown(err) {
			t.Errorf("clean up: %v", err)
		}
	})
}

func isUnknown(err error) bool {
	e, ok := errors.AsType[api.StatusError](err)
	return ok && e.Code == 404
}

func (w world) service(node string) string { return "tlsfleet-" + w.name + "-" + node }

func TestNodesFollowRegistrationAndBeat(t *testing.T) {
	w := shared(t)
	if err := w.Beat(t.Context(), "a", true, "early"); !errors.Is(err, store.ErrUnregistered) {
		t.Errorf("Beat() before Register = %v, want %v", err, store.ErrUnregistered)
	}
	w.awaitNodes(t)
	w.register(t, "b")
	w.register(t, "a")
	a := fleet.Node{Name: "a", Address: "10.0.0.1"}
	b := fleet.Node{Name: "b", Address: "10.0.0.1"}
	w.awaitNodes(t, a, b)
	if err := w.Beat(t.Context(), "a", true, "fine"); err != nil {
		t.Errorf("Beat() = %v, want nil", err)
	}
	a.Healthy = true
	w.awaitNodes(t, a, b)
	w.register(t, "a")
	if err := w.Beat(t.Context(), "b", false, "ill"); err != nil {
		t.Errorf("Beat() = %v, want nil", err)
	}
	w.awaitNodes(t, a, b)
	if err := w.Deregister(t.Context(), "b"); err != nil {
		t.Errorf("Deregister() = %v, want nil", err)
	}
	w.awaitNodes(t, a)
	if err := w.Deregister(t.Context(), "b"); !errors.Is(err, store.ErrUnregistered) {
		t.Errorf("Deregister() again = %v, want %v", err, store.ErrUnregistered)
	}
	if err := w.Beat(t.Context(), "b", true, ""); !errors.Is(err, store.ErrUnregistered) {
		t.Errorf("Beat() after Deregister = %v, want %v", err, store.ErrUnregistered)
	}
}

func TestRegisterAgainKeepsState(t *testing.T) {
	w := shared(t)
	w.register(t, "a")
	if err := w.Beat(t.Context(), "a", true, ""); err != nil {
		t.Fatal(err)
	}
	if err := w.client.Agent().EnableServiceMaintenance(w.service("a"), "test"); err != nil {
		t.Fatal(err)
	}
	want := fleet.Node{Name: "a", Address: "10.0.0.1", Healthy: true, Maintenance: true}
	w.awaitNodes(t, want)
	w.register(t, "a")
	checks, err := w.client.Agent().Checks()
	if err != nil {
		t.Fatal(err)
	}
	if c := checks["service:"+w.service("a")]; c == nil || c.Status != api.HealthPassing {
		t.Errorf("check after Register again = %v, want it to pass still", c)
	}
	if checks["_service_maintenance:"+w.service("a")] == nil {
		t.Error("Register again ended the maintenance")
	}
	w.register(t, "b") // anti-entropy has passed when b is seen
	w.awaitNodes(t, want, fleet.Node{Name: "b", Address: "10.0.0.1"})
	if err := w.client.Agent().DisableServiceMaintenance(w.service("a")); err != nil {
		t.Fatal(err)
	}
	want.Maintenance = false
	w.awaitNodes(t, want, fleet.Node{Name: "b", Address: "10.0.0.1"})
}

func TestNodesInNodeMaintenance(t *testing.T) {
	server := testkit.Consul(t, testkit.ConsulDev())
	w := newWorld(t, server.Addr, "")
	w.register(t, "a")
	if err := w.Beat(t.Context(), "a", true, ""); err != nil {
		t.Fatal(err)
	}
	if err := w.client.Agent().EnableNodeMaintenance("test"); err != nil {
		t.Fatal(err)
	}
	w.awaitNodes(t, fleet.Node{Name: "a", Address: "10.0.0.1", Healthy: true, Maintenance: true})
}

// catalog puts a registration of another Consul node into the catalog.
func (w world) catalog(t *testing.T, consulNode, node, status string, meta map[string]string) {
	t.Helper()
	consulNode = w.name + "-" + consulNode
	id := w.service(node)
	_, err := w.client.Catalog().Register(&api.CatalogRegistration{
		Node: consulNode, Address: "10.9.9.9",
		Service: &api.AgentService{ID: id, Service: "tlsfleet", Tags: []string{w.name}, Meta: meta},
		Check:   &api.AgentCheck{Node: consulNode, CheckID: "service:" + id, ServiceID: id, Status: status, Name: "x"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := w.client.Catalog().Deregister(&api.CatalogDeregistration{Node: consulNode}, nil); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
}

func TestNodesMergeAndIgnore(t *testing.T) {
	w := shared(t)
	of := func(fleetName, node string) map[string]string {
		return map[string]string{"fleet": fleetName, "node": node}
	}
	w.catalog(t, "live", "a", api.HealthPassing, of(w.name, "a"))
	w.catalog(t, "stale", "a", api.HealthCritical, of(w.name, "a"))
	w.catalog(t, "dead", "b", api.HealthCritical, of(w.name, "b"))
	w.catalog(t, "no-meta", "c", api.HealthPassing, nil)
	w.catalog(t, "other-fleet", "d", api.HealthPassing, of("other", "d"))
	w.catalog(t, "bad-name", "e", api.HealthPassing, of(w.name, "../e"))
	w.awaitNodes(t, fleet.Node{Name: "a", Address: "10.9.9.9", Healthy: true}, fleet.Node{Name: "b", Address: "10.9.9.9"})
}

// TestListsNeedALeader answers an empty list without the sign of a leader, as
// an election can.
func TestListsNeedALeader(t *testing.T) {
	w := shared(t)
	w.register(t, "a")
	for name, fault := range map[string]testkit.Fault{
		"500": testkit.Status(http.StatusInternalServerError),
		"empty": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("X-Consul-Index", "1")
			if _, err := io.WriteString(w, "[]"); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			proxy := testkit.FaultProxy(t, testkit.SharedConsul(t).Addr)
			proxy.Set(testkit.Rule{Fault: fault})
			proxied := w.at(t, proxy.Addr, "")
			if nodes, err := proxied.Nodes(t.Context()); err == nil {
				t.Errorf("Nodes() = %v, nil, want an error", nodes)
			}
			if good, bad, err := proxied.Reports(t.Context()); err == nil {
				t.Errorf("Reports() = %v, %v, nil, want an error", good, bad)
			}
		})
	}
}

func TestLeader(t *testing.T) {
	w := shared(t)
	if got, err := w.Leader(t.Context()); got != "" || err != nil {
		t.Errorf("Leader() = %q, %v, want none", got, err)
	}
	session := w.lead(t, "a")
	if got, err := w.Leader(t.Context()); got != "a" || err != nil {
		t.Errorf("Leader() = %q, %v, want a", got, err)
	}
	w.destroy(t, session)
	if got, err := w.Leader(t.Context()); got != "" || err != nil {
		t.Errorf("Leader() after its session = %q, %v, want none", got, err)
	}
}
