package testkit

import (
	"net/http"
	"testing"

	"github.com/hashicorp/consul/api"
)

func TestConsulTLSWantsClientCertificates(t *testing.T) {
	t.Parallel()
	s := Consul(t, ConsulTLS(), ConsulGossip(), ConsulACL())
	member := s.Join(t, "member")
	put(t, member.Client(t), "a", "1")
	pair, _, err := s.Client(t).KV().Get("a", nil)
	if err != nil || pair == nil {
		t.Errorf("Get(a) at the server = %v, %v, want what was put at the member", pair, err)
	}
	bare, err := api.NewClient(&api.Config{Address: s.URL(), Token: s.Token, TLSConfig: api.TLSConfig{CAFile: s.TLS.CA}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bare.Status().Leader(); err == nil {
		t.Error("Leader() without a client certificate = nil error, want one")
	}
	resp, err := http.Get("http://" + s.Addr + "/v1/status/leader") //nolint:noctx // refused at once
	if err == nil {
		if resp.StatusCode == http.StatusOK {
			t.Error("plain HTTP is answered, want TLS only")
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
	}
	self, err := member.Client(t).Agent().Self()
	if err != nil || self["Stats"]["serf_lan"] == nil {
		t.Fatalf("Self() = %v, %v, want statistics", self, err)
	}
	if gossip, ok := self["Stats"]["serf_lan"].(map[string]any); !ok || gossip["encrypted"] != "true" {
		t.Errorf("gossip = %v, want it encrypted", gossip)
	}
}
