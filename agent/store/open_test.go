package store_test

import (
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

func TestOpenRefuses(t *testing.T) {
	kr, err := seal.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "a/b", ".."} {
		if _, err := store.Open(store.Config{Fleet: name}, kr); !errors.Is(err, fleet.ErrName) {
			t.Errorf("Open() of fleet %q = %v, want %v", name, err, fleet.ErrName)
		}
	}
	if _, err := store.Open(store.Config{Fleet: "a"}, nil); err == nil {
		t.Error("Open() without a keyring = nil, want an error")
	}
	if _, err := store.Open(store.Config{Fleet: "a", TokenFile: filepath.Join(t.TempDir(), "missing")}, kr); err == nil {
		t.Error("Open() with a missing token file = nil, want an error")
	}
}

// TestOpenTakesVariables reads a missing ring, which proves both the address
// and the token.
func TestOpenTakesVariables(t *testing.T) {
	server := testkit.Consul(t, testkit.ConsulDev(), testkit.ConsulACL())
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(server.Token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	nobody := fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t, "127.0.0.1"))
	const wrong = "11111111-1111-1111-1111-111111111111"
	tests := map[string]struct {
		env map[string]string
		cfg store.Config
	}{
		"variables":         {map[string]string{"CONSUL_HTTP_ADDR": server.Addr, "CONSUL_HTTP_TOKEN": server.Token}, store.Config{}},
		"variables, file":   {map[string]string{"CONSUL_HTTP_ADDR": server.Addr, "CONSUL_HTTP_TOKEN_FILE": file}, store.Config{}},
		"fields first":      {map[string]string{"CONSUL_HTTP_ADDR": nobody, "CONSUL_HTTP_TOKEN": wrong}, store.Config{Address: server.Addr, Token: server.Token}},
		"token before file": {map[string]string{"CONSUL_HTTP_TOKEN_FILE": "/nonexistent"}, store.Config{Address: server.Addr, Token: server.Token}},
		"field file first":  {map[string]string{"CONSUL_HTTP_TOKEN": wrong}, store.Config{Address: server.Addr, TokenFile: file}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for k, v := range test.env {
				t.Setenv(k, v)
			}
			kr, err := seal.Generate(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			test.cfg.Fleet = testkit.FleetName(t)
			s, err := store.Open(test.cfg, kr)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Ring(t.Context()); !errors.Is(err, store.ErrMissing) {
				t.Errorf("Ring() = %v, want %v", err, store.ErrMissing)
			}
		})
	}
}

// TestOpenTakesVariablesOfTheConnection reads what arrives at a server with TLS.
func TestOpenTakesVariablesOfTheConnection(t *testing.T) {
	var got *http.Request
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		http.Error(w, "not a Consul", http.StatusTeapot)
	}))
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		env     map[string]string
		arrives bool
	}{
		"nothing known of it": {map[string]string{}, false},
		"its CA":              {map[string]string{"CONSUL_CACERT": ca}, true},
		"another name":        {map[string]string{"CONSUL_CACERT": ca, "CONSUL_TLS_SERVER_NAME": "other.test"}, false},
		"not looked at":       {map[string]string{"CONSUL_HTTP_SSL_VERIFY": "false"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range map[string]string{
				"CONSUL_HTTP_ADDR": server.Listener.Addr().String(), "CONSUL_HTTP_SSL": "true", "CONSUL_HTTP_AUTH": "user:word",
				"CONSUL_NAMESPACE": "ns", "CONSUL_PARTITION": "part",
			} {
				t.Setenv(k, v)
			}
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			kr, err := seal.Generate(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			s, err := store.Open(store.Config{Fleet: "a"}, kr)
			if err != nil {
				t.Fatal(err)
			}
			got = nil
			if _, err := s.Ring(t.Context()); err == nil {
				t.Fatal("Ring() = nil, want an error")
			}
			if (got != nil) != tt.arrives {
				t.Fatalf("the request arrives: %t, want %t", got != nil, tt.arrives)
			}
			if got == nil {
				return
			}
			user, word, _ := got.BasicAuth()
			if q := got.URL.Query(); user != "user" || word != "word" || q.Get("ns") != "ns" || q.Get("partition") != "part" {
				t.Errorf("the request is %s by %s:%s, want it as the variables say", got.URL, user, word)
			}
		})
	}
}
