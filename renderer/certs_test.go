package renderer

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// newBundle is a self-signed certificate for the names.
func newBundle(t testing.TB, names ...string) (fleet.Hash, bundle.Bundle) {
	t.Helper()
	certPEM, keyPEM := testkit.SelfSigned(t, names...)
	cert, _ := pem.Decode(certPEM)
	key, _ := pem.Decode(keyPEM)
	b := bundle.Bundle{Leaf: cert.Bytes, Key: fleet.NewSecret(key.Bytes)}
	return bundle.Hash(b), b
}

// put writes bundles and makes each live for its name.
func (g *rig) put(t testing.TB, names ...string) map[string]fleet.Hash {
	t.Helper()
	live := map[string]fleet.Hash{}
	for _, name := range names {
		hash, b := newBundle(t, name)
		if err := g.PutBundle(hash, b); err != nil {
			t.Fatalf("PutBundle(%s) = %v", name, err)
		}
		live[name] = hash
	}
	if err := g.SetLive(live); err != nil {
		t.Fatalf("SetLive(%v) = %v", names, err)
	}
	return live
}

// tlsRig is a running nginx whose workers have no rights, with an own port
// for the servers of a release.
type tlsRig struct {
	*rig
	addr string
}

func newTLSRig(t testing.TB, o testkit.NginxOptions, change ...func(*Config)) *tlsRig {
	t.Helper()
	addr := fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t, "127.0.0.1"))
	if o.User == "" {
		o.User = "www-data"
	}
	if o.StateDir == "" {
		o.StateDir = openDir(t)
	}
	change = append([]func(*Config){func(c *Config) { c.DefaultServers = []string{addr + " ssl"} }}, change...)
	g := &tlsRig{newRig(t, o, change...), addr}
	g.nginx.Start(t)
	return g
}

// openDir is a folder that a worker of nginx can reach.
func openDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tlsfleet-renderer-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Logf("remove %s: %v", dir, err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "state")
}

// servers are those of a release on the rig's port.
func (g *tlsRig) servers(names NameMode, list ...string) TLSServers {
	return TLSServers{Mode: TLSVariable, Names: names, List: list, Listen: []string{g.addr + " ssl"}}
}

func (g *tlsRig) serve(t testing.TB, servers TLSServers) Outcome {
	t.Helper()
	rel := ringRelease(newRing(t, 1))
	rel.TLS = servers
	return g.mustProve(t, rel)
}

// shows fails unless nginx serves a name, byte for byte, with a bundle.
func (g *tlsRig) shows(t testing.TB, sni string, want fleet.Hash) {
	t.Helper()
	leaf, err := helloLeaf(g.addr, sni)
	if err != nil {
		t.Errorf("handshake for %q = %v, want bundle %s", sni, err, want)
		return
	}
	text := read(t, filepath.Join(g.cfg.bundleDir(want), fullchainFile))
	if block, _ := pem.Decode([]byte(text)); string(block.Bytes) != leaf {
		t.Errorf("handshake for %q shows another certificate than bundle %s", sni, want)
	}
}

// refuses fails unless nginx ends the handshake for a name, byte for byte.
func (g *tlsRig) refuses(t testing.TB, sni string) {
	t.Helper()
	if leaf, err := helloLeaf(g.addr, sni); !errors.Is(err, errRefused) {
		t.Errorf("handshake for %q = %d bytes of a certificate, %v, want %v", sni, len(leaf), err, errRefused)
	}
}

// get is the status line of one request on a connection for a name.
func (g *tlsRig) get(t testing.TB, sni, request string) string {
	t.Helper()
	c, err := tls.Dial("tcp", g.addr, &tls.Config{ServerName: sni, InsecureSkipVerify: true})
	if err != nil {
		t.Fatalf("dial %s: %v", sni, err)
	}
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", request, sni); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(c)
	if err != nil && len(all) == 0 {
		t.Fatalf("GET %s: %v", request, err)
	}
	if strings.Contains(string(all), "PRIVATE KEY") {
		t.Errorf("GET %s answers with a private key", request)
	}
	line, _, _ := strings.Cut(string(all), "\r\n")
	if err := c.Close(); err != nil {
		t.Logf("close: %v", err)
	}
	return line
}
