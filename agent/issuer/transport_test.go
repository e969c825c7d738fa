package issuer

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
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
