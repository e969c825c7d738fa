package issuer

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// TestPreflight asks a real nginx, under names that a real DNS server gives.
func TestPreflight(t *testing.T) {
	w := newWorld(t, testkit.PebbleOptions{})
	own, err := Thumbprint(w.key)
	if err != nil {
		t.Fatal(err)
	}
	w.SetAddress(t, "elsewhere.test", "127.0.0.2") // nobody listens there
	other := testkit.FreePort(t, "127.0.0.1")
	web := func(body string) string { return fmt.Sprintf("location / { %s }", body) }
	nginx := testkit.NewNginx(t, testkit.NginxOptions{NoInclude: true, HTTP: fmt.Sprintf(`
	server { listen 127.0.0.1:%[1]d; server_name parked.test; %[2]s }
	server { listen 127.0.0.1:%[1]d; server_name missing.test; %[3]s }
	server { listen 127.0.0.1:%[1]d; server_name moved.test; %[4]s }
	server { listen 127.0.0.1:%[1]d; server_name loop.test; %[5]s }
	server { listen 127.0.0.1:%[1]d; server_name port.test; %[6]s }
	server { listen 127.0.0.1:%[1]d; server_name ip.test; %[7]s }
	server { listen 127.0.0.1:%[1]d; server_name huge.test; %[8]s }
	server { listen 127.0.0.1:%[1]d; server_name other.test; %[9]s }
	server { listen 127.0.0.1:%[1]d; server_name slow.test; limit_rate 1; %[8]s }`, other,
		web("return 200 for-sale;"), web("return 404;"), web(fmt.Sprintf("return 302 http://target.test:%d$request_uri;", other)), web("return 302 $scheme://$http_host$request_uri;"),
		web("return 302 http://port.test:81/;"), web("return 302 http://127.0.0.1/;"), web(`return 200 "`+strings.Repeat("x", 3000)+`";`), web("return 200 $uri.other;")) + fmt.Sprintf(`
	server { listen 127.0.0.1:%d; server_name target.test; location ~ "acme-challenge/(.+)$" { return 200 "$1.%s\n"; } }`, other, own)})
	nginx.Start(t)
	tests := map[string]struct {
		name  string
		port  int
		nodes []string
		ok    bool
	}{
		"this fleet":        {"a.test", w.HTTPPort, nil, true},
		"each node":         {"a.test", w.HTTPPort, []string{"127.0.0.1", "127.0.0.1"}, true},
		"a node is silent":  {"a.test", w.HTTPPort, []string{"127.0.0.1", "127.0.0.2"}, false},
		"redirect":          {"moved.test", other, nil, true},
		"nobody listens":    {"elsewhere.test", w.HTTPPort, nil, false},
		"for sale":          {"parked.test", other, nil, false},
		"not found":         {"missing.test", other, nil, false},
		"loop":              {"loop.test", other, nil, false},
		"redirect to 81":    {"port.test", other, nil, false},
		"redirect to an IP": {"ip.test", other, nil, false},
		"large answer":      {"huge.test", other, nil, false},
		"slow answer":       {"slow.test", other, nil, false},
		"another account":   {"other.test", other, nil, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := Preflight{Thumbprint: own, Resolver: w.DNS, Port: tt.port}
			if !tt.ok {
				p.Timeout = 2 * time.Second
			}
			err := p.Check(t.Context(), tt.name, tt.nodes)
			if tt.ok != (err == nil) || err != nil && !errors.Is(err, ErrPreflight) {
				t.Errorf("Check() = %v, want ok %v", err, tt.ok)
			}
			if err == nil {
				return
			}
			if f, ok := FailureOf(t.Context(), "", err); !ok || f.Class != issuance.Recoverable || f.Stage != issuance.StagePreflight || !strings.HasPrefix(f.Detail, "preflight of "+tt.name) {
				t.Errorf("FailureOf() = %+v, %v, want a recoverable one at the preflight, which is said once", f, ok)
			}
		})
	}
}
