package e2e

import (
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
