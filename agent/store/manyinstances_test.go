package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/store"
)

// TestManyInstancesOfAService reads as many as are taken from a real catalog, and
// one more.
func TestManyInstancesOfAService(t *testing.T) {
	t.Parallel()
	w := shared(t)
	node, service := w.name+"-node", w.name+"-web"
	if _, err := w.client.Catalog().Register(&api.CatalogRegistration{Node: node, Address: "192.0.2.1"}, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := w.client.Catalog().Deregister(&api.CatalogDeregistration{Node: node}, nil); err != nil {
			t.Error(err)
		}
	})
	join := func(from, to int) {
		t.Helper()
		var ops api.TxnOps
		for i := from; i < to; i++ {
			ops = append(ops, &api.TxnOp{Service: &api.ServiceTxnOp{Verb: api.ServiceSet, Node: node, Service: api.AgentService{
				ID: fmt.Sprintf("%s-%d", service, i), Service: service, Address: fmt.Sprintf("10.0.%d.%d", i/250, i%250), Port: 8080,
			}}})
		}
		for part := range slices.Chunk(ops, 100) {
			if ok, resp, _, err := w.client.Txn().Txn(part, nil); err != nil || !ok {
				t.Fatal(resp, err)
			}
		}
	}
	join(0, store.MaxInstances)
	began := time.Now()
	got, err := w.Instances(t.Context(), store.Service{Name: service, PassingOnly: true})
	if took := time.Since(began); err != nil || len(got.Backends) != store.MaxInstances || took > 10*time.Second {
		t.Errorf("Instances() = %d after %s, %v, want %d", len(got.Backends), took, err, store.MaxInstances)
	}
	join(store.MaxInstances, store.MaxInstances+1)
	if got, err := w.Instances(t.Context(), store.Service{Name: service}); err == nil || len(got.Backends) > 0 {
		t.Errorf("Instances() = %d, %v, want them refused", len(got.Backends), err)
	}
}
