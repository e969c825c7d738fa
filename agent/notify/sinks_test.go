package notify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

var key = fleet.NewSecret([]byte("0123456789abcdef"))

func TestWebhookSigns(t *testing.T) {
	var got *http.Request
	var body []byte
	status := http.StatusNoContent
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			t.Error(err)
		}
		if status == http.StatusFound {
			w.Header().Set("Location", "/other")
		}
		w.WriteHeader(status)
	}))
	defer server.Close()
	w, err := NewWebhook(server.URL+"/hook?token=secret", key, true)
	if err != nil {
		t.Fatal(err)
	}
	sent := []byte(`{"id":"a"}`)
	if err := w.Send(t.Context(), event("a"), sent); err != nil {
		t.Fatal(err)
	}
	want := "sha256=" + Sign(key, got.Header.Get(HeaderTime), sent)
	if string(body) != string(sent) || got.Header.Get(HeaderSignature) != want || got.Header.Get(HeaderEvent) != "a" {
		t.Errorf("Send() posted %s with %v, want %s signed %s", body, got.Header, sent, want)
	}
	if Sign(key, "1", sent) == Sign(key, "2", sent) || Sign(key, "1", sent) == Sign(key, "1", []byte("x")) {
		t.Error("Sign() is the same for another time or body")
	}
	for _, status = range []int{http.StatusFound, http.StatusBadRequest, http.StatusInternalServerError} {
		if err := w.Send(t.Context(), event("a"), sent); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("Send() to a server that answers %d = %v, want an error without the URL", status, err)
		}
		if strings.HasPrefix(got.URL.Path, "/other") {
			t.Error("Send() followed a redirect")
		}
	}
	if s := w.String(); strings.Contains(s, "hook") || strings.Contains(s, "secret") {
		t.Errorf("String() = %s, want no path", s)
	}
}

func TestWebhookLeadsToPublicAddressesOnly(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(server.URL, "http://"), ":")
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"} {
		w, err := NewWebhook("http://"+host+":"+port+"/", key, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Send(t.Context(), event("a"), nil); !errors.Is(err, ErrAddress) {
			t.Errorf("Send() to %s = %v, want %v", host, err, ErrAddress)
		}
	}
	for ip, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false,
		"100.64.0.1": false, "fe80::1": false, "fd00::1": false, "::": false, "224.0.0.1": false, "255.255.255.255": false, "64:ff9b::a00:1": false, "::7f00:1": false, "fec0::1": false, "2002:a00:1::": false,
	} {
		if got := public(netip.MustParseAddr(ip)); got != want {
			t.Errorf("public(%s) = %v, want %v", ip, got, want)
		}
	}
}

// TestWebhookChecksTheAddressThatItDials has a real DNS server change its mind: a
// name that led to an allowed address leads to loopback at the next delivery.
func TestWebhookChecksTheAddressThatItDials(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	defer server.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(server.URL, "http://"), ":")
	dns := testkit.Pebble(t, testkit.PebbleOptions{HTTPPort: testkit.FreePort(t, "127.0.0.1")})
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, dns.DNS)
	}}
	send := func(private bool) error {
		w, err := NewWebhook("http://hook.test:"+port+"/", key, private)
		if err != nil {
			t.Fatal(err)
		}
		w.client = client(private, resolver)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		return w.Send(ctx, event("a"), nil)
	}
	// Nobody is there, but it may be asked.
	dns.SetAddress(t, "hook.test", "203.0.113.1")
	if err := send(false); err == nil || errors.Is(err, ErrAddress) {
		t.Errorf("Send() to a public address = %v, want another error than %v", err, ErrAddress)
	}
	dns.SetAddress(t, "hook.test", "127.0.0.1")
	if err := send(false); !errors.Is(err, ErrAddress) {
		t.Errorf("Send() after DNS has changed = %v, want %v", err, ErrAddress)
	}
	if err := send(true); err != nil {
		t.Errorf("Send() where private addresses are allowed = %v", err)
	}
}

func TestNewWebhookRefuses(t *testing.T) {
	for name, target := range map[string]string{
		"nothing": "", "a path": "/x", "a file": "file:///etc/passwd", "a user": "https://u:p@a.test/", "no host": "https:///x", "a fragment": "https://a.test/#x",
	} {
		if _, err := NewWebhook(target, key, true); !errors.Is(err, ErrURL) {
			t.Errorf("NewWebhook() of %s = %v, want %v", name, err, ErrURL)
		}
	}
	if _, err := NewWebhook("https://a.test/", fleet.NewSecret([]byte("short")), true); !errors.Is(err, ErrURL) {
		t.Errorf("NewWebhook() with a short key = %v, want %v", err, ErrURL)
	}
}

func TestExec(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	x, err := NewExec([]string{"/bin/sh", "-c", `cat > "$0"; echo "$TLSFLEET_EVENT" >> "$0"`, out})
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Send(t.Context(), event("a"), []byte("body\n")); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(out); err != nil || string(got) != "body\ncertificate.issued\n" {
		t.Errorf("the program got %q, %v", got, err)
	}
	failing, err := NewExec([]string{"/bin/sh", "-c", "echo because >&2; exit 3"})
	if err != nil {
		t.Fatal(err)
	}
	if err := failing.Send(t.Context(), event("a"), nil); err == nil || !strings.Contains(err.Error(), "because") {
		t.Errorf("Send() to a failing program = %v, want its last words", err)
	}
	for _, argv := range [][]string{nil, {"sh"}, {"./x"}} {
		if _, err := NewExec(argv); !errors.Is(err, ErrCommand) {
			t.Errorf("NewExec(%q) = %v, want %v", argv, err, ErrCommand)
		}
	}
}

func TestExecEndsWithWhatItStarted(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "pid")
	x, err := NewExec([]string{"/bin/sh", "-c", `sleep 600 & echo $! > "$0"; wait`, mark})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- x.Send(ctx, event("a"), nil) }()
	var pid []byte
	testkit.Eventually(t, 50*time.Second, "the program to start another", func() error {
		pid, err = os.ReadFile(mark)
		if err == nil && !strings.HasSuffix(string(pid), "\n") {
			err = errors.New("not yet")
		}
		return err
	})
	cancel()
	if err := <-done; err == nil {
		t.Error("Send() to a program that hangs = nil, want an error")
	}
	testkit.Eventually(t, 50*time.Second, "the end of what the program started", func() error {
		status, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
		if errors.Is(err, fs.ErrNotExist) || err == nil && strings.Contains(string(status), " Z ") {
			return nil
		}
		return errors.Join(err, fmt.Errorf("it goes on: %s", status))
	})
}
