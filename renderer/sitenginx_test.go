package renderer

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tlsfleet/tlsfleet/agent/site"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/templates"
)

// siteRig is an nginx that serves sites by path.
type siteRig struct {
	SiteFrame
	nginx   *testkit.Nginx
	current string
	certPEM []byte
}

func newSiteRig(t testing.TB) *siteRig {
	t.Helper()
	n := testkit.NewNginx(t, testkit.NginxOptions{})
	g := &siteRig{SiteFrame: siteFrame(t, ""), nginx: n, current: filepath.Join(n.StateDir, "nginx", "current")}
	g.LiveDir, g.SnippetsDir = filepath.Join(n.StateDir, "live"), filepath.Join(n.Dir, "snippets")
	g.Listen = []string{fmt.Sprintf("127.0.0.1:%d ssl", testkit.FreePort(t, "127.0.0.1"))}
	g.HTTPListen = []string{fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t, "127.0.0.1"))}
	cert, key := testkit.SelfSigned(t, "a.test", "b.test")
	g.certPEM = cert
	for _, name := range []string{"a.test", "b.test"} {
		write(t, filepath.Join(g.LiveDir, name, fullchainFile), string(cert))
		write(t, filepath.Join(g.LiveDir, name, privkeyFile), string(key))
		if err := os.Mkdir(filepath.Join(g.LiveDir, name, rootDir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(g.SnippetsDir, "ca.pem"), string(cert))
	return g
}

// put writes the sites as a release would.
func (g *siteRig) put(t testing.TB, sites []site.Site, backends ...site.Backend) {
	t.Helper()
	files, bad := RenderSites(g.SiteFrame, sites, func(string) []site.Backend { return backends })
	if len(bad) > 0 {
		t.Fatal(bad)
	}
	shared, err := SitesShared(g.SiteFrame, sites, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(files, shared) {
		write(t, filepath.Join(g.current, f.Name), string(f.Text))
	}
	ring := newRing(t, 1)
	key := filepath.Join(g.nginx.Dir, "ring.key")
	if err := os.WriteFile(key, ring.Current.Raw.Reveal(), 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(g.current, templates.TicketsFile), "ssl_session_ticket_key "+key+";\n")
}

func address1(listen string) string { a, _, _ := strings.Cut(listen, " "); return a }

// TestSiteServes: a request goes over TLS and HTTP/2 to the backends, and one
// without TLS is sent to https.
func TestSiteServes(t *testing.T) {
	g := newSiteRig(t)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %q", r.Host, r.Header.Get("X-Forwarded-Proto"), r.Header.Get("X-Ssl-Client-Verify")) //nolint:errcheck // a test sees it
	}))
	defer backend.Close()
	s := sitesOf(t, "site \"a\" {\nserver_names = [\"a.test\"]\nwebsocket = true\nbackends {\nservice = \"x\"\nmethod = \"random\"\n}\nhsts {\nmax_age = \"1h\"\n}\n}")
	g.put(t, s, site.Backend{Address: backend.Listener.Addr().String(), Weight: 1})
	g.nginx.Start(t)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(g.certPEM)
	client := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "a.test", MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer client.CloseIdleConnections()
	ask := func(url string) (code int, proto string, header http.Header, body string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "a.test"
		req.Header.Set("X-Ssl-Client-Verify", "SUCCESS")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close() //nolint:errcheck // only read
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, resp.Proto, resp.Header, string(text)
	}
	_, proto, header, body := ask("https://" + address1(g.Listen[0]) + "/x")
	if body != `a.test https ""` || proto != "HTTP/2.0" || header.Get("Strict-Transport-Security") != "max-age=3600" {
		t.Errorf("GET / = %s, %s, %v, want the backend over HTTP/2 with HSTS", body, proto, header)
	}
	code, _, header, _ := ask("http://" + address1(g.HTTPListen[0]) + "/x?y")
	port := strings.TrimPrefix(address1(g.Listen[0]), "127.0.0.1:")
	if got, want := header.Get("Location"), "https://a.test:"+port+"/x?y"; got != want || code != http.StatusMovedPermanently {
		t.Errorf("GET without TLS = %d to %s, want 301 to %s", code, got, want)
	}
}

// TestNoSessionComesAroundClientCertificates: a session of a site that asks for
// no certificate is not resumed with one that does, although all sockets have the
// same ticket keys.
func TestNoSessionComesAroundClientCertificates(t *testing.T) {
	g := newSiteRig(t)
	own := fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t, "127.0.0.1"))
	g.put(t, sitesOf(t, "site \"open\" {\nserver_names = [\"a.test\"]\nbackends {\nservice = \"x\"\n}\n}\nsite \"closed\" {\nserver_names = [\"a.test\", \"b.test\"]\nhttp = \"off\"\nlisten = [\""+own+
		"\"]\nbackends {\nservice = \"x\"\n}\nclient_certificates {\nca = \"ca.pem\"\n}\n}"))
	g.nginx.Start(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, name := range []string{"a.test", "b.test"} {
			cache := &oneSession{}
			c := &tls.Config{InsecureSkipVerify: true, ServerName: "a.test", MinVersion: version, MaxVersion: version, ClientSessionCache: cache} //nolint:gosec // what is served is not asked
			getOver(t, address1(g.Listen[0]), c, "a.test")
			if resumed, status := getOver(t, address1(g.Listen[0]), c, "a.test"); !resumed {
				t.Fatalf("a session at the open site is not resumed (status %s): the test would see nothing", status)
			}
			c.ServerName = name
			if resumed, status := getOver(t, own, c, name); resumed || !strings.Contains(status, "400") {
				t.Errorf("version %x, %s: resumed: %t, status %q, want a full handshake and 400 for want of a certificate", version, name, resumed, status)
			}
		}
	}
}

// oneSession gives the last session to every server.
type oneSession struct{ last *tls.ClientSessionState }

func (o *oneSession) Get(string) (*tls.ClientSessionState, bool) { return o.last, o.last != nil }
func (o *oneSession) Put(_ string, s *tls.ClientSessionState) {
	if s != nil {
		o.last = s
	}
}

func getOver(t *testing.T, addr string, c *tls.Config, host string) (resumed bool, status string) {
	t.Helper()
	raw, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(raw, c)
	defer conn.Close() //nolint:errcheck // the answer has been read
	if err := conn.HandshakeContext(t.Context()); err != nil {
		return false, err.Error()
	}
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	status, err = r.ReadString('\n')
	if err != nil {
		return conn.ConnectionState().DidResume, err.Error()
	}
	if _, err := r.WriteTo(new(strings.Builder)); err != nil {
		t.Logf("read the rest: %v", err)
	}
	return conn.ConnectionState().DidResume, status
}

// TestNginxTakesHostileValues: where nginx has no opinion of a value, the text
// with any value in it passes nginx -t, with the right files.
func TestNginxTakesHostileValues(t *testing.T) {
	g := newSiteRig(t)
	n, taken := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		if n++; n > 15 {
			return // a sample
		}
		text := hostileText().Draw(rt, "text")
		file := "x" + strings.NewReplacer("/", "", "\x00", "").Replace(text)
		write(t, filepath.Join(g.nginx.Dir, "odd", file), "# nothing\n")
		v := templates.Site{
			ID: "odd", Version: "1.22.1", Names: []templates.SiteName{{Name: "a.test", Folder: "a.test"}, {Name: "x" + text, Folder: "a.test"}},
			Listen: g.Listen, Live: g.LiveDir, Protocols: []string{"TLSv1.2"}, MaxBody: "1m", HSTS: text, ClientBodyTimeout: "1s",
			Snippets: []string{filepath.Join(g.nginx.Dir, "odd", file)},
		}
		r, err := g.Template.Render(v)
		if err != nil {
			return
		}
		taken++
		write(t, filepath.Join(g.current, r.File.Name), string(r.File.Text))
		if err := g.nginx.Test(t); err != nil && !strings.Contains(err.Error(), "is invalid") {
			rt.Fatalf("nginx -t with %q: %v\n%s", text, err, r.File.Text)
		}
	})
	t.Logf("%d of %d were given to nginx", taken, n)
	if taken == 0 {
		t.Error("nothing was given to nginx")
	}
}
