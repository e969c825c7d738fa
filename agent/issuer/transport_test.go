package issuer

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func TestAnswersAreBounded(t *testing.T) {
	for n, want := range map[int]error{maxAnswer: nil, maxAnswer + 1: errLarge} {
		body, err := readBody(&http.Response{Body: io.NopCloser(strings.NewReader(strings.Repeat("x", n)))})
		if !errors.Is(err, want) || err == nil && len(body) != n {
			t.Errorf("readBody() of %d bytes = %d, %v, want %v", n, len(body), err, want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": 0, "120": 2 * time.Minute, "-5": 0, "0": 0, "soon": 0, "1e9": 0, "99999999999": 366 * 24 * time.Hour,
		"Thu, 01 Jan 2026 01:00:00 GMT": time.Hour, "Wed, 31 Dec 2025 23:00:00 GMT": 0,
	} {
		if got := retryAfter(header, now); got != want {
			t.Errorf("retryAfter(%q) = %s, want %s", header, got, want)
		}
	}
}

// TestAFrozenProcessAsksNothingAfterItsLease has a lease end by the clock while its context
// goes on, as in a process that was frozen.
func TestAFrozenProcessAsksNothingAfterItsLease(t *testing.T) {
	errFrozen := errors.New("the lease is over")
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer server.Close()
	var over error
	ctx := fleet.WithLease(t.Context(), func() error { return over })
	client, _, err := newHTTPClient(ctx, CA{})
	if err != nil {
		t.Fatal(err)
	}
	for _, over = range []error{nil, errFrozen} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if !errors.Is(err, over) {
			t.Errorf("Do() with a lease that says %v = %v", over, err)
		}
		if err == nil {
			err = resp.Body.Close()
		}
		if _, failed := FailureOf(ctx, "ca", errAnswer); failed != (over == nil) {
			t.Errorf("FailureOf() with a lease that says %v = %v, want what the lease has cut off to be none", over, failed)
		}
		if over == nil && err != nil {
			t.Error(err)
		}
	}
	if asked != 1 {
		t.Errorf("the server was asked %d times, want once", asked)
	}
}
