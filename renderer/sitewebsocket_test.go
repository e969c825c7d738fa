package renderer

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/site"
)

// echo answers a request for the protocol websocket with what it reads until
// its end, and any other one with 426.
func echo(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "websocket" || r.Header.Get("Connection") != "upgrade" || !r.ProtoAtLeast(1, 1) {
		w.WriteHeader(http.StatusUpgradeRequired)
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close() //nolint:errcheck // the test reads what came
	if _, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"); err == nil {
		_, _ = io.Copy(conn, rw) //nolint:errcheck // as above
	}
}

// upgraded asks a site for the protocol websocket. Both sides can be heard until
// the end of the test if the status is 101.
func (g *siteRig) upgraded(t *testing.T, name string) (status int, both io.ReadWriter) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{ // HTTP/1.1, as ALPN is not asked for another
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: name}, //nolint:gosec // what is served is not asked
	}}
	t.Cleanup(client.CloseIdleConnections)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address1(g.Listen[0])+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = name
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "websocket")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
	})
	both, _ = resp.Body.(io.ReadWriter) //nolint:errcheck // nil: it is none
	return resp.StatusCode, both
}

// TestSiteUpgradesToWebSocket: what either side says after the upgrade reaches
// the other, and a site without the setting passes no upgrade on.
func TestSiteUpgradesToWebSocket(t *testing.T) {
	g := newSiteRig(t)
	backend := httptest.NewServer(http.HandlerFunc(echo))
	defer backend.Close()
	g.put(t, sitesOf(t, "site \"a\" {\nserver_names = [\"a.test\"]\nwebsocket = true\nbackends {\nservice = \"x\"\n}\n}\n"+
		"site \"b\" {\nserver_names = [\"b.test\"]\nbackends {\nservice = \"x\"\n}\n}"),
		site.Backend{Address: backend.Listener.Addr().String(), Weight: 1})
	g.nginx.Start(t)
	status, both := g.upgraded(t, "a.test")
	if status != http.StatusSwitchingProtocols {
		t.Fatalf("GET with Upgrade = %d, want 101", status)
	}
	for _, said := range []string{"one", "two"} {
		if _, err := io.WriteString(both, said); err != nil {
			t.Fatal(err)
		}
		heard := make([]byte, len(said))
		if _, err := io.ReadFull(both, heard); err != nil || string(heard) != said {
			t.Errorf("heard %q, %v, want %q back", heard, err, said)
		}
	}
	if status, _ := g.upgraded(t, "b.test"); status != http.StatusUpgradeRequired {
		t.Errorf("GET with Upgrade at a site without websocket = %d, want 426 of the backend that saw no upgrade", status)
	}
}
