package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// TestDomainCommands asks for certificates at the command line of a real fleet.
func TestDomainCommands(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "d")
	f := newACMEFleet(t, FleetOptions{Nodes: 2, Node: func(i int) Settings {
		return Settings{"acme.domains_socket": fmt.Sprint(socket, i)}
	}})
	for _, name := range []string{"a.test", "b.test", "www.b.test"} {
		f.pebble.SetAddress(t, name, f.Nodes[0].Nginx.Address)
	}
	f.pebble.SetAddress(t, "elsewhere.test", "127.0.0.2") // nobody listens there
	f.says(t, 0, "issued 1 of 1 certificate", "domain", "add", "A.test.", "--wait")
	for _, n := range f.Nodes {
		testkit.Eventually(t, settle, "a.test on "+n.Name, func() error {
			if !slices.Contains(n.live(t), "a.test") {
				return fmt.Errorf("it has %v", n.live(t))
			}
			return nil
		})
	}
	r := f.Nodes[1].CLIWithInput(t, "# customers\r\nb.test www.b.test\r\n\r\nelsewhere.test\r\n", "domain", "add", "-", "--wait", "--timeout", "40s")
	r.Want(t, 1)
	for _, want := range []string{"issued 1 of 2 certificates", "elsewhere.test: waiting, ", "recoverable: ", "1 of 2 are not issued"} {
		if !strings.Contains(r.Stdout+r.Stderr, want) {
			t.Errorf("%s, want %q in it", r, want)
		}
	}
	f.says(t, 0, "3 certificates: 2 issued, 1 waiting", "domain", "list")
	f.says(t, 0, `"elsewhere.test"`, "domain", "list", "--state", "waiting", "--format", "json")
	f.says(t, 0, "b.test www.b.test", "domain", "show", "www.b.test")
	f.says(t, 0, "left alone: a.test is issued", "domain", "retry", "a.test")
	f.pebble.SetAddress(t, "elsewhere.test", f.Nodes[0].Nginx.Address)
	f.says(t, 0, "tried again: 1 certificate", "domain", "retry", "--waiting")
	f.says(t, 0, "issued 1 of 1 certificate", "domain", "add", "elsewhere.test", "--wait")
	for _, s := range []string{socket + "1", filepath.Join(f.Nodes[1].RunDir, "agent.sock")} {
		if code, body := askSocket(t, s, "/v1/domains/elsewhere.test"); code != http.StatusOK || !strings.Contains(body, `"issued"`) {
			t.Errorf("%s answers %d %s, want the certificate", s, code, body)
		}
	}
	if code, body := askSocket(t, socket+"1", "/v1/status"); code != http.StatusNotFound {
		t.Errorf("the socket for domains answers %d %s for the status, want 404", code, body)
	}
	f.says(t, 1, "the name belongs to another certificate", "domain", "add", "www.b.test")
	f.says(t, 0, "not obtained any more: 1 certificate", "domain", "remove", "www.b.test", "--yes")
	f.says(t, 0, "not obtained any more: 1 certificate", "domain", "remove", "a.test", "--yes", "--keep-certificate")
	f.says(t, 1, "no certificate for this name", "cert", "show", "b.test")
	f.says(t, 0, "source:    acme", "cert", "show", "a.test")
	f.says(t, 1, "no certificate is obtained for this name", "domain", "show", "a.test")
}

// says runs a command that ends with code and has a text in its output.
func (f *Fleet) says(t *testing.T, code int, text string, args ...string) {
	t.Helper()
	if r := f.CLI(t, args...).Want(t, code); !strings.Contains(r.Stdout+r.Stderr, text) {
		t.Fatalf("%s, want %q in it", r, text)
	}
}

// askSocket makes one request by a unix socket.
func askSocket(t *testing.T, socket, path string) (code int, body string) {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://agent"+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}
