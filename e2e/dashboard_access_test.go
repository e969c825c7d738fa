package e2e

import (
	"context"
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// TestDashboardIsForThoseWhoMayRead goes to guarded addresses with Chromium and
// the token, without it, and with a client certificate.
func TestDashboardIsForThoseWhoMayRead(t *testing.T) {
	dir := t.TempDir()
	keep := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cert, key := testkit.SelfSigned(t, "127.0.0.1")
	clientCert, clientKey := testkit.SelfSigned(t, "operator.test")
	const token = "a-token-of-this-test"
	addrs := map[int]string{}
	f := NewFleet(t, FleetOptions{Nodes: 1, Node: withHTTP(t, addrs), Settings: Settings{
		"http.cert_file": keep("cert", cert), "http.key_file": keep("key", key), "http.token_file": keep("token", []byte(token+"\n")),
		"http.client_ca_file": keep("clients", clientCert),
	}})
	f.Nodes[0].AwaitNoProblem(t)

	ctx := browser(t, 1280, 900, false, chromedp.Flag("ignore-certificate-errors", true))
	for _, who := range []string{"", "ops:a-token-of-that-test@"} {
		err := chromedp.Do(ctx, chromedp.Navigate("https://"+who+addrs[0]+"/"))
		if err == nil || !strings.Contains(err.Error(), "ERR_INVALID_AUTH_CREDENTIALS") {
			t.Errorf("open as %q = %v, want to be asked for the token and no page", who, err)
		}
	}
	act(ctx, t, chromedp.Navigate("https://ops:"+token+"@"+addrs[0]+"/v1/status"))
	act(ctx, t, chromedp.Navigate("https://"+addrs[0]+"/"), chromedp.WaitReady(chromedp.CSS(`html[data-ready]`)))
	pageSays(ctx, t, "live", "live")
	pageSays(ctx, t, "summary", "epoch 1")
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	pageSays(ctx, t, "summary", "epoch 2")

	owner := readsWithCertificate(t, addrs[0], clientCert, clientKey)
	pageSays(owner, t, "summary", "epoch 2")
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	pageSays(owner, t, "summary", "epoch 3")
	shot(owner, t, "certificate")

	pair, err := tls.X509KeyPair(clientCert, clientKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		certs []tls.Certificate
		want  int
	}{"no certificate": {nil, http.StatusUnauthorized}, "a certificate": {[]tls.Certificate{pair}, http.StatusOK}} {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
			Certificates: c.certs, InsecureSkipVerify: true, //nolint:gosec // the server is not looked at
		}}}
		for _, path := range []string{"/", "/v1/fleet", "/v1/stream", "/metrics"} {
			if got := statusOf(t, client, "https://"+addrs[0]+path); got != c.want {
				t.Errorf("GET %s with %s = %d, want %d", path, name, got, c.want)
			}
		}
	}
}

// statusOf is how an address answers; what it says is not read.
func statusOf(t *testing.T, c *http.Client, url string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), settle)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	return resp.StatusCode
}
