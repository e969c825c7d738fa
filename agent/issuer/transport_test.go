package issuer

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
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

// TestWhatIsACut: the connection stood, and no whole answer came. A CA that
// cannot be reached, or that answers nonsense, is another matter.
func TestWhatIsACut(t *testing.T) {
	hang := make(chan struct{})
	faults := map[string]http.HandlerFunc{
		"/reset": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"/half": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			if _, err := io.WriteString(w, "half"); err != nil {
				t.Error(err)
			}
		},
		"/hang":  func(http.ResponseWriter, *http.Request) { <-hang },
		"/large": func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, maxAnswer+1)) }, //nolint:errcheck // the client has enough
		"/503":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { faults[r.URL.Path](w, r) })
	plain, private := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	private.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer plain.Close()
	defer private.Close()
	defer close(hang)
	gone := httptest.NewServer(handler)
	gone.Close()
	for name, tt := range map[string]struct {
		url  string
		want issuance.Class
	}{
		"reset":                 {plain.URL + "/reset", issuance.Cut},
		"half an answer":        {plain.URL + "/half", issuance.Cut},
		"none in time":          {plain.URL + "/hang", issuance.Cut},
		"too large":             {plain.URL + "/large", issuance.CADown},
		"refused with a status": {plain.URL + "/503", issuance.CADown},
		"nobody listens":        {gone.URL, issuance.CADown},
		"unknown root":          {private.URL + "/reset", issuance.CADown},
	} {
		t.Run(name, func(t *testing.T) {
			client, requests, err := newHTTPClient(t.Context(), CA{})
			if err != nil {
				t.Fatal(err)
			}
			requests.timeout = 5 * time.Second
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, tt.url, strings.NewReader("x"))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if err == nil {
				t.Fatalf("Do() = %s, want an error", errors.Join(errors.New(resp.Status), resp.Body.Close()))
			}
			if f, ok := FailureOf(t.Context(), "ca", fmt.Errorf("ask: %w", err)); !ok || f.Class != tt.want {
				t.Errorf("FailureOf(%v) = %+v, want %s", err, f, tt.want)
			}
		})
	}
}
