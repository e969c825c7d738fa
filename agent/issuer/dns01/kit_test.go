package dns01

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// signed are the settings for updates of a server.
func signed(s *testkit.BindServer) map[string]fleet.Secret {
	return secrets(map[string]string{
		"DNSUPDATE_NAMESERVER": s.Addr, "DNSUPDATE_TSIG_ALGORITHM": "hmac-sha256.", "DNSUPDATE_TSIG_KEY": s.KeyName,
		"DNSUPDATE_TSIG_SECRET": s.Secret, "DNSUPDATE_DNS_TIMEOUT": "20",
	})
}

func secrets(values map[string]string) map[string]fleet.Secret {
	out := map[string]fleet.Secret{}
	for name, value := range values {
		out[name] = fleet.NewSecret([]byte(value))
	}
	return out
}

// zoneOf is a zone for all names, whose records one server shows.
func zoneOf(s *testkit.BindServer, provider string, settings map[string]fleet.Secret) Zone {
	return Zone{
		Name: "test", Domains: []string{AllNames}, Provider: provider, Settings: settings,
		Propagation: 10 * time.Second, Nameservers: []string{s.Addr},
	}
}

func responder(t *testing.T, s *testkit.BindServer, zones ...Zone) *Responder {
	t.Helper()
	return New(zones, s.Addr, testkit.Logger(t))
}

// nsupdate writes the script that the provider exec runs.
func nsupdate(t *testing.T, s *testkit.BindServer) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nsupdate.sh")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+s.NSUpdate()), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	return path
}

// httpUpdates is a server for the provider httpreq, which knows one password.
func httpUpdates(t *testing.T, script string) *httptest.Server {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "fleet" || password != "right-password" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var m struct{ FQDN, Value string }
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		var out bytes.Buffer
		cmd := exec.CommandContext(r.Context(), script, filepath.Base(r.URL.Path), m.FQDN, m.Value) //nolint:gosec // a test's own script
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			http.Error(w, fmt.Sprint(err, out.String()), http.StatusInternalServerError)
		}
	}))
	t.Cleanup(web.Close)
	return web
}

// short is a context for what has to fail by itself.
func short(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}
