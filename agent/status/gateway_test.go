package status_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/status"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// shelf has one certificate, and errors for other names.
type shelf struct{}

var ends = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

func (shelf) Certificate(_ context.Context, name string, have fleet.Hash) (status.Certificate, error) {
	switch name {
	case "a.test":
		c := status.Certificate{Name: "*.test", Bundle: fleet.Hash{7}, NotAfter: ends}
		if have != c.Bundle {
			c.Fullchain, c.Key = []byte("CHAIN\n"), fleet.NewSecret([]byte("KEY\n"))
		}
		return c, nil
	case "late.test":
		return status.Certificate{}, status.ErrNotNow
	case "spoiled.test":
		return status.Certificate{}, status.ErrUnusable
	case "broken.test":
		return status.Certificate{}, errors.New("disk on fire")
	default:
		return status.Certificate{}, status.ErrNoCertificate
	}
}

// serveGateway answers on a socket until the test ends.
func serveGateway(t *testing.T, gid int) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "g")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- status.ServeCertificates(ctx, path, gid, shelf{}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("ServeCertificates() = %v, want nil when the context ends", err)
		}
	})
	testkit.Eventually(t, 50*time.Second, "the socket to answer", func() error {
		_, err := ask(t, path, http.MethodGet, "/", nil)
		return err
	})
	return path
}

type reply struct {
	*http.Response
	body string
}

// ask makes one request whose path goes out as it is.
func ask(t *testing.T, socket, method, path string, header map[string]string) (reply, error) {
	t.Helper()
	return askWith(t, socket, method, path, header, nil)
}

// askWith is ask with a body.
func askWith(t *testing.T, socket, method, path string, header map[string]string, body io.Reader) (reply, error) {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	req := httptest.NewRequestWithContext(t.Context(), method, "http://agent/", body)
	req.URL.Opaque, req.RequestURI = path, ""
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return reply{}, err
	}
	text, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return reply{resp, string(text)}, nil
}

func TestGatewayAnswers(t *testing.T) {
	socket := serveGateway(t, -1)
	const base = "/v1/certificates/"
	tag := `"` + (fleet.Hash{7}).String() + `"`
	other := `"` + (fleet.Hash{8}).String() + `"`
	asJSON := map[string]string{"Accept": "application/json"}
	tests := map[string]struct {
		method, path string
		header       map[string]string
		code         int
		body         string // the beginning
	}{
		"pem":               {"GET", base + "a.test", nil, 200, "CHAIN\nKEY\n"},
		"json":              {"GET", base + "a.test", asJSON, 200, `{"name":"*.test","bundle":"07`},
		"head":              {"HEAD", base + "a.test", nil, 200, ""},
		"known":             {"GET", base + "a.test", map[string]string{"If-None-Match": tag}, 304, ""},
		"known weakly":      {"GET", base + "a.test", map[string]string{"If-None-Match": "W/" + tag}, 304, ""},
		"known second":      {"GET", base + "a.test", map[string]string{"If-None-Match": other + ", " + tag}, 304, ""},
		"known as json":     {"GET", base + "a.test", map[string]string{"If-None-Match": tag, "Accept": "application/json"}, 304, ""},
		"another known":     {"GET", base + "a.test", map[string]string{"If-None-Match": other}, 200, "CHAIN\nKEY\n"},
		"any known":         {"GET", base + "a.test", map[string]string{"If-None-Match": "*"}, 200, "CHAIN\nKEY\n"},
		"unknown":           {"GET", base + "b.test", nil, 404, `{"error":`},
		"empty":             {"GET", base, nil, 404, `{"error":`},
		"above":             {"GET", base + "../status", nil, 404, `{"error":`},
		"above, encoded":    {"GET", base + "%2e%2e", nil, 404, `{"error":`},
		"below":             {"GET", base + "a.test/key", nil, 404, `{"error":`},
		"long":              {"GET", base + strings.Repeat("x", 300), nil, 404, `{"error":`},
		"not now":           {"GET", base + "late.test", nil, 503, `{"error":`},
		"unusable":          {"GET", base + "spoiled.test", nil, 502, `{"error":`},
		"broken":            {"GET", base + "broken.test", nil, 500, `{"error":`},
		"write":             {"PUT", base + "a.test", nil, 405, `{"error":`},
		"status elsewhere":  {"GET", "/v1/status", nil, 404, ""},
		"events elsewhere":  {"POST", "/v1/events", nil, 404, ""},
		"nothing else here": {"GET", "/v1/certificates", nil, 404, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := ask(t, socket, tt.method, tt.path, tt.header)
			if err != nil {
				t.Fatal(err)
			}
			if r.StatusCode != tt.code || !strings.HasPrefix(r.body, tt.body) || tt.body == "" && strings.Contains(r.body, "KEY") {
				t.Errorf("%s %s = %d %q, want %d and %q", tt.method, tt.path, r.StatusCode, r.body, tt.code, tt.body)
			}
			if tt.code == 200 || tt.code == 304 {
				if got := r.Header.Get("ETag"); got != tag {
					t.Errorf("ETag = %s, want %s", got, tag)
				}
				if got := r.Header.Get("Cache-Control"); got != "no-store" {
					t.Errorf("Cache-Control = %q, want no-store", got)
				}
			}
			if later := r.Header.Get("Retry-After") != ""; later != (tt.code >= 500) {
				t.Errorf("Retry-After with %d = %t", tt.code, later)
			}
		})
	}
	r, err := ask(t, socket, http.MethodGet, base+"a.test", asJSON)
	var got struct {
		NotAfter       time.Time `json:"not_after"`
		Fullchain, Key string
	}
	if err := errors.Join(err, json.Unmarshal([]byte(r.body), &got)); err != nil || !got.NotAfter.Equal(ends) || got.Fullchain != "CHAIN\n" || got.Key != "KEY\n" {
		t.Errorf("GET as JSON = %s, %v", r.body, err)
	}
}

// TestGatewayIsForItsGroupOnly asks as users of three groups.
func TestGatewayIsForItsGroupOnly(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	const owner, other = 33, 65534
	socket := serveGateway(t, owner)
	open(t, socket)
	tests := map[string]struct {
		gid  uint32
		more []uint32
		want bool
	}{
		"group":       {owner, nil, true},
		"second":      {other, []uint32{owner}, true},
		"other group": {other, nil, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			out, err := askAs(t, socket, "GET", "/v1/certificates/a.test", "", &syscall.Credential{Uid: other, Gid: tt.gid, Groups: tt.more})
			if got := bytes.Contains(out, []byte("KEY")); got != tt.want || (err == nil) != tt.want {
				t.Errorf("asked by group %d %v: %t, %v, %s, want %t", tt.gid, tt.more, got, err, out, tt.want)
			}
		})
	}
}

// TestAgentSocketKeepsKeysToRoot lets another user have the status, and no key.
func TestAgentSocketKeepsKeysToRoot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	serve(t, path, &node{})
	if r, err := ask(t, path, http.MethodGet, "/v1/certificates/a.test", nil); err != nil || r.body != "CHAIN\nKEY\n" {
		t.Errorf("asked by the agent's user: %q, %v, want the certificate", r.body, err)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	open(t, path)
	if err := os.Chmod(path, 0o777); err != nil { //nolint:gosec // whoever gets this far gets no further
		t.Fatal(err)
	}
	out, err := askAs(t, path, "GET", "/v1/certificates/a.test", "", &syscall.Credential{Uid: 65534, Gid: 65534})
	if err == nil || !bytes.Contains(out, []byte("gateway_socket")) || bytes.Contains(out, []byte("KEY")) {
		t.Errorf("asked by nobody: %s, %v, want a refusal that names gateway_socket", out, err)
	}
}
