package e2e

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// luaModules are what Debian's packages libnginx-mod-http-lua and
// libnginx-mod-http-ndk bring.
var luaModules = []string{"/usr/lib/nginx/modules/ndk_http_module.so", "/usr/lib/nginx/modules/ngx_http_lua_module.so"}

// newGatewayFleet is NewFleet with nodes whose nginx gets its certificates in
// Lua, by the files in packaging/nginx. Workers are not root.
func newGatewayFleet(t *testing.T, o FleetOptions) *Fleet {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("nginx gives its workers another user only as root")
	}
	for _, m := range luaModules {
		if _, err := os.Stat(m); err != nil {
			t.Fatalf("find nginx's Lua module: %v: run 'make deps'", err)
		}
	}
	o.Idle = true
	o.Nginx = func(_ int, o *testkit.NginxOptions) { o.User = workers }
	f := NewFleet(t, o)
	for _, n := range f.Nodes {
		if err := os.Chmod(n.RunDir, 0o755); err != nil { // as the agent would make it
			t.Fatal(err)
		}
		n.Settings["certificates.gateway_socket"] = n.gatewaySocket()
		n.WriteConfig(t)
		n.useGateway(t)
		n.Nginx.Start(t)
		n.StartAgent(t)
	}
	f.AwaitProved(t, 1)
	return f
}

func (n *Node) gatewaySocket() string { return filepath.Join(n.RunDir, "certificates.sock") }

// useGateway puts the configuration that operators are given into nginx's.
func (n *Node) useGateway(t *testing.T) {
	t.Helper()
	lua, err := filepath.Abs("../packaging/nginx")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(lua, "gateway.conf"))
	if err != nil {
		t.Fatal(err)
	}
	conf := string(text)
	for before, after := range map[string]string{
		"/usr/share/tlsfleet/nginx/":      lua + "/",
		"/run/tlsfleet/certificates.sock": n.gatewaySocket(),
		"listen 443 ssl;":                 "listen " + n.Nginx.TLSAddrs[0] + " ssl;",
	} {
		if !strings.Contains(conf, before) {
			t.Fatalf("gateway.conf has no %q", before)
		}
		conf = strings.Replace(conf, before, after, 1)
	}
	file := filepath.Join(n.Nginx.Dir, "gateway.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	n.EditNginx(t, "events {", "load_module "+strings.Join(luaModules, ";\nload_module ")+";\nevents {")
	n.EditNginx(t, "http {", "http {\ninclude "+file+";")
}

// Given is what the gateway answered.
type Given struct {
	Code  int
	ETag  string
	Later string // Retry-After
	Body  string
}

// Ask asks the node's gateway for a name, which goes out as it is.
func (n *Node) Ask(t *testing.T, name string, header ...string) (Given, error) {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "unix", n.gatewaySocket())
	if err != nil {
		return Given{}, err
	}
	text := "GET /v1/certificates/" + name + " HTTP/1.1\r\nHost: tlsfleet\r\nConnection: close\r\n" + strings.Join(append(header, "\r\n"), "\r\n")
	_, err = io.WriteString(conn, text)
	var g Given
	if err == nil {
		var resp *http.Response
		if resp, err = http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
			var body []byte
			body, err = io.ReadAll(resp.Body)
			g = Given{resp.StatusCode, resp.Header.Get("ETag"), resp.Header.Get("Retry-After"), string(body)}
			err = errors.Join(err, resp.Body.Close())
		}
	}
	return g, errors.Join(err, conn.Close())
}

// WantGiven fails the test unless the gateway answers for the name with this
// code and, for 200, with the certificate. It returns the ETag.
func (n *Node) WantGiven(t *testing.T, when, name string, code int, want Leaf) string {
	t.Helper()
	g, err := n.Ask(t, name)
	if err == nil {
		err = g.is(code, want)
	}
	if err != nil {
		t.Errorf("%s: GET %s: %v", when, name, err)
	}
	return g.ETag
}

// AwaitGiven is WantGiven with patience.
func (n *Node) AwaitGiven(t *testing.T, name string, code int, want Leaf) {
	t.Helper()
	testkit.Eventually(t, settle, fmt.Sprintf("%d for %s", code, name), func() error {
		g, err := n.Ask(t, name)
		if err != nil {
			return err
		}
		return g.is(code, want)
	})
}

// is nil if the answer is this one.
func (g Given) is(code int, want Leaf) error {
	switch {
	case g.Code != code:
		return fmt.Errorf("code is %d, want %d: %.200s", g.Code, code, g.Body)
	case code != http.StatusOK && strings.Contains(g.Body, "PRIVATE"):
		return fmt.Errorf("an answer of code %d has a key", code)
	case code != http.StatusOK:
		return nil
	}
	pair, err := tls.X509KeyPair([]byte(g.Body), []byte(g.Body))
	if err != nil {
		return err
	}
	if got := pair.Leaf.SerialNumber.String(); got != want.Serial || len(pair.Certificate) != 2 {
		return fmt.Errorf("serial is %s with %d certificates, want %s with 2", got, len(pair.Certificate), want.Serial)
	}
	return nil
}
