package status_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/status"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// ledger knows one challenge.
type ledger struct{ t *testing.T }

func (l ledger) Challenge(_ context.Context, token string) (string, error) {
	switch token {
	case "A-z_09":
		return "A-z_09.thumbprint", nil
	case "broken":
		return "", errors.New("consul at 10.0.0.1 is away")
	case "unknown":
		return "", status.ErrNoChallenge
	default:
		l.t.Errorf("asked for %q, which is no token", token)
		return "", status.ErrNoChallenge
	}
}

func TestChallengesAreAnswered(t *testing.T) {
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(testkit.FreePort(t, "127.0.0.1")))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- status.ServeChallenges(ctx, address, ledger{t}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("ServeChallenges() = %v, want nil when the context ends", err)
		}
	})
	const base = "/.well-known/acme-challenge/"
	tests := map[string]struct {
		method, path string
		code         int
		body         string
	}{
		"known":          {"GET", base + "A-z_09", 200, "A-z_09.thumbprint"},
		"with a query":   {"GET", base + "A-z_09?x=y", 200, "A-z_09.thumbprint"},
		"head":           {"HEAD", base + "A-z_09", 200, ""},
		"unknown":        {"GET", base + "unknown", 404, "404 page not found\n"},
		"cause is kept":  {"GET", base + "broken", 503, "not available now\n"},
		"write":          {"POST", base + "A-z_09", 404, "404 page not found\n"},
		"no token":       {"GET", base, 404, "404 page not found\n"},
		"dots":           {"GET", base + "..", 404, "404 page not found\n"},
		"encoded":        {"GET", base + "%2e%2e%2faccount", 404, "404 page not found\n"},
		"below":          {"GET", base + "A-z_09/x", 404, "404 page not found\n"},
		"long":           {"GET", base + strings.Repeat("a", 201), 404, "404 page not found\n"},
		"status":         {"GET", "/v1/status", 404, "404 page not found\n"},
		"other wellness": {"GET", "/.well-known/x", 404, "404 page not found\n"},
	}
	testkit.Eventually(t, 50*time.Second, "the address to answer", func() error {
		_, _, err := fetch(t, "GET", "http://"+address+"/")
		return err
	})
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			code, body, err := fetch(t, tt.method, "http://"+address+tt.path)
			if err != nil || code != tt.code || body != tt.body {
				t.Errorf("%s %s = %d %q, %v, want %d %q", tt.method, tt.path, code, body, err, tt.code, tt.body)
			}
		})
	}
}

func fetch(t *testing.T, method, url string) (int, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return 0, "", fmt.Errorf("fetch: %w", err)
	}
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), errors.Join(err, resp.Body.Close())
}
