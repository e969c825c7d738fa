package status

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

const goodToken = "0123456789abcdef"

type still fleet.Report

func (s still) Report() fleet.Report { return fleet.Report(s) }

// web answers on a free port of loopback until the test ends.
func web(t *testing.T, cfg HTTPConfig, r fleet.Report) string {
	t.Helper()
	return webWith(t, cfg, r, http.NotFoundHandler())
}

func webWith(t *testing.T, cfg HTTPConfig, r fleet.Report, pages http.Handler) string {
	t.Helper()
	cfg.Address = net.JoinHostPort("127.0.0.1", strconv.Itoa(testkit.FreePort(t, "127.0.0.1")))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	h := HTTPHandler(still(r), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if _, err := io.WriteString(w, "metrics"); err != nil {
			t.Error(err)
		}
	}), pages)
	go func() { done <- ServeHTTP(ctx, cfg, h) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("ServeHTTP() = %v, want nil when the context ends", err)
		}
	})
	testkit.Eventually(t, 50*time.Second, "an answer at "+cfg.Address, func() error {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", cfg.Address)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	return cfg.Address
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// ask returns status and body.
func ask(t *testing.T, c *http.Client, r *http.Request) (int, string) {
	t.Helper()
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
	}()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestHTTPLetsInWhoMayRead(t *testing.T) {
	open := web(t, HTTPConfig{}, fleet.Report{})
	guarded := web(t, HTTPConfig{TokenFile: file(t, "token", goodToken+"\n")}, fleet.Report{})
	cases := map[string]struct {
		addr, method, path string
		head               map[string]string
		host               string
		want               int
	}{
		"metrics":                {addr: open, path: "/metrics", want: 200},
		"status":                 {addr: open, path: "/v1/status", want: 200},
		"unknown path":           {addr: open, path: "/x", want: 404},
		"post":                   {addr: open, method: "POST", path: "/v1/status", want: 405},
		"delete":                 {addr: open, method: "DELETE", path: "/metrics", want: 405},
		"made-up method":         {addr: open, method: "BREW", path: "/metrics", want: 405},
		"method override":        {addr: open, method: "POST", path: "/metrics", head: map[string]string{"X-HTTP-Method-Override": "GET"}, want: 405},
		"rebound name":           {addr: open, path: "/metrics", host: "evil.test", want: 421},
		"localhost":              {addr: open, path: "/metrics", host: "localhost:9180", want: 200},
		"foreign origin":         {addr: open, path: "/metrics", head: map[string]string{"Origin": "https://evil.test"}, want: 403},
		"null origin":            {addr: open, path: "/metrics", head: map[string]string{"Origin": "null"}, want: 403},
		"own origin":             {addr: open, path: "/metrics", head: map[string]string{"Origin": "http://" + open}, want: 200},
		"image of another site":  {addr: open, path: "/metrics", head: map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, want: 403},
		"link of another site":   {addr: open, path: "/metrics", head: map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, want: 200},
		"8 KB path":              {addr: open, path: "/" + strings.Repeat("a", 8<<10), want: 404},
		"no token":               {addr: guarded, path: "/metrics", want: 401},
		"no token, other host":   {addr: guarded, path: "/metrics", host: "evil.test", want: 401},
		"wrong token":            {addr: guarded, path: "/metrics", head: map[string]string{"Authorization": "Bearer 0123456789abcdeF"}, want: 401},
		"beginning of the token": {addr: guarded, path: "/metrics", head: map[string]string{"Authorization": "Bearer 0123"}, want: 401},
		"empty token":            {addr: guarded, path: "/metrics", head: map[string]string{"Authorization": "Bearer "}, want: 401},
		"token":                  {addr: guarded, path: "/metrics", head: map[string]string{"Authorization": "Bearer " + goodToken}, want: 200},
		"password":               {addr: guarded, path: "/metrics", head: map[string]string{"Authorization": "Basic b3BzOjAxMjM0NTY3ODlhYmNkZWY="}, want: 200},
		"health needs no token":  {addr: guarded, path: "/healthz", want: 200},
		"ready needs no token":   {addr: guarded, path: "/readyz", want: 503},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			method := c.method
			if method == "" {
				method = http.MethodGet
			}
			r, err := http.NewRequestWithContext(t.Context(), method, "http://"+c.addr+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			for k, v := range c.head {
				r.Header.Set(k, v)
			}
			if c.host != "" {
				r.Host = c.host
			}
			if got, body := ask(t, http.DefaultClient, r); got != c.want {
				t.Errorf("%s %.40s = %d, want %d: %.200s", method, c.path, got, c.want, body)
			}
		})
	}
}

func TestHTTPAsksForClientCertificates(t *testing.T) {
	certPEM, keyPEM := testkit.SelfSigned(t, "127.0.0.1")
	clientPEM, clientKey := testkit.SelfSigned(t, "client.test")
	cert, key := file(t, "cert.pem", string(certPEM)), file(t, "key.pem", string(keyPEM))
	addr := web(t, HTTPConfig{CertFile: cert, KeyFile: key, ClientCAFile: file(t, "ca.pem", string(clientPEM))}, fleet.Report{})
	pair, err := tls.X509KeyPair(clientPEM, clientKey)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		certs []tls.Certificate
		want  int // 0: no handshake
	}{
		"none":    {nil, 401},
		"known":   {[]tls.Certificate{pair}, 200},
		"unknown": {[]tls.Certificate{stranger}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
				InsecureSkipVerify: true, //nolint:gosec // it is the client that is looked at
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
					if len(c.certs) == 0 {
						return &tls.Certificate{}, nil
					}
					return &c.certs[0], nil
				},
			}}}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+addr+"/metrics", nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.want == 0 {
				resp, err := client.Do(r)
				if err == nil {
					t.Errorf("GET with an unknown certificate = %d, want no answer", resp.StatusCode)
					if err := resp.Body.Close(); err != nil {
						t.Error(err)
					}
				}
				return
			}
			if got, body := ask(t, client, r); got != c.want {
				t.Errorf("GET = %d, want %d: %s", got, c.want, body)
			}
		})
	}
}

func TestHTTPRefusesToServeOpen(t *testing.T) {
	certPEM, keyPEM := testkit.SelfSigned(t, "127.0.0.1")
	cert, key := file(t, "cert.pem", string(certPEM)), file(t, "key.pem", string(keyPEM))
	for name, cfg := range map[string]HTTPConfig{
		"no token file":        {TokenFile: filepath.Join(t.TempDir(), "none")},
		"empty token":          {TokenFile: file(t, "token", "\n")},
		"short token":          {TokenFile: file(t, "token", "0123456789abcde\n")},
		"no certificate":       {CertFile: filepath.Join(t.TempDir(), "none"), KeyFile: key},
		"key of another":       {CertFile: cert, KeyFile: cert},
		"issuers without any":  {CertFile: cert, KeyFile: key, ClientCAFile: file(t, "ca.pem", "nothing")},
		"no file with issuers": {CertFile: cert, KeyFile: key, ClientCAFile: filepath.Join(t.TempDir(), "none")},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Address = "127.0.0.1:0"
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if err := ServeHTTP(ctx, cfg, http.NotFoundHandler()); err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("ServeHTTP() = %v, want an error at once", err)
			}
		})
	}
}

func TestReadySaysWhatIsMissing(t *testing.T) {
	good := fleet.Report{Mode: fleet.ModeRing, Applied: 3, Proved: 3, Problems: []fleet.Problem{{Code: "w", Severity: fleet.Warning}}}
	perHost, unproved, alarmed := good, good, good
	perHost.Mode, unproved.Proved = fleet.ModePerHost, 0
	alarmed.Problems = []fleet.Problem{{Code: "keys-exposed", Severity: fleet.Alarm, Message: "key is open"}}
	for name, c := range map[string]struct {
		report fleet.Report
		want   int
		says   string
	}{
		"ready":    {good, 200, ""},
		"nothing":  {fleet.Report{}, 503, "ring"},
		"own keys": {perHost, 503, "ring"},
		"unproved": {unproved, 503, "ring"},
		"alarm":    {alarmed, 503, "keys-exposed: key is open"},
	} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			HTTPHandler(still(c.report), http.NotFoundHandler(), http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/readyz", nil))
			var got problem
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if w.Code != c.want || !strings.Contains(got.Error, c.says) {
				t.Errorf("GET /readyz = %d %q, want %d with %q", w.Code, got.Error, c.want, c.says)
			}
		})
	}
}

// A page that frames this one, or a script that was smuggled in, gets nowhere.
func TestHTTPForbidsScripts(t *testing.T) {
	addr := web(t, HTTPConfig{}, fleet.Report{})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/v1/status", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
	} {
		if got := resp.Header.Get(name); !strings.HasPrefix(got, want) {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
}

// TestHTTPRefusesLongRequests reads what comes until the connection ends, because
// what the server has not read of the request resets it behind the answer.
func TestHTTPRefusesLongRequests(t *testing.T) {
	addr := web(t, HTTPConfig{}, fleet.Report{})
	text := func(kilobytes int) string { return strings.Repeat("a", kilobytes<<10) }
	for name, c := range map[string]struct {
		path, head string
		want       string
	}{
		"8 KB of query":       {path: "/metrics?" + text(8), want: "HTTP/1.1 200 OK"},
		"8 KB in a header":    {path: "/metrics", head: "X-Long: " + text(8) + "\r\n", want: "HTTP/1.1 200 OK"},
		"64 KB of path":       {path: "/" + text(64), want: "HTTP/1.1 431 Request Header Fields Too Large"},
		"64 KB of query":      {path: "/metrics?" + text(64), want: "HTTP/1.1 431 Request Header Fields Too Large"},
		"64 KB in a header":   {path: "/metrics", head: "X-Long: " + text(64) + "\r\n", want: "HTTP/1.1 431 Request Header Fields Too Large"},
		"64 KB of headers":    {path: "/metrics", head: strings.Repeat("X-Many: "+text(1)+"\r\n", 64), want: "HTTP/1.1 431 Request Header Fields Too Large"},
		"1 MB, all in one go": {path: "/metrics?" + text(1024), want: "HTTP/1.1 431 Request Header Fields Too Large"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, addr)
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				// An error is that the server has ended the connection.
				fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n%s\r\n", c.path, c.head) //nolint:errcheck // see above
			}()
			answer, err := io.ReadAll(conn)
			<-sent
			if got, _, _ := strings.Cut(string(answer), "\r\n"); got != c.want || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("answer = %.300q, then %v, want %q and the end of the connection", answer, err, c.want)
			}
		})
	}
}

// dial connects; the connection ends with the test, and after a minute.
func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestHTTPOutlivesSlowClients has as many clients as are served at a time begin a
// request and never end it.
func TestHTTPOutlivesSlowClients(t *testing.T) {
	t.Parallel()
	addr := web(t, HTTPConfig{}, fleet.Report{})
	var slow []net.Conn
	for range maxHTTPConns {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close() //nolint:errcheck // the server has closed it
		if _, err := io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: "); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, conn)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	if code, _ := ask(t, &http.Client{Timeout: time.Minute}, r); code != http.StatusOK {
		t.Errorf("GET /metrics beside %d slow clients = %d, want 200", len(slow), code)
	}
	for _, conn := range slow {
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("a slow client is still connected after a minute, want it dropped")
		}
	}
}
