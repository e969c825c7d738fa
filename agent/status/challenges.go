package status

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/netutil"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// challengesPath is where challenges are fetched (RFC 8555, section 8.3).
const challengesPath = "/.well-known/acme-challenge/"

// Anybody may ask for challenges, so no more than a few are looked for at a time,
// and none for long.
const (
	challengesAtOnce = 32
	challengeTime    = 8 * time.Second
)

// ErrNoChallenge means that nobody has made a challenge known.
var ErrNoChallenge = errors.New("no such challenge")

// Challenges knows what a challenge is answered with. The token was checked
// (fleet.IsToken).
type Challenges interface {
	Challenge(ctx context.Context, token string) (answer string, _ error)
}

// ServeChallenges answers HTTP-01 challenges that nginx passes on, and nothing
// else, on a loopback address until ctx ends.
func ServeChallenges(ctx context.Context, address string, known Challenges) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen for challenges: %w", err)
	}
	return serve(ctx, address, netutil.LimitListener(l, maxConns), challenges(known))
}

// challenges answers GET for the path of a challenge.
func challenges(known Challenges) http.Handler {
	slots := make(chan struct{}, challengesAtOnce)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.URL.Path, challengesPath)
		if !ok || !fleet.IsToken(token) || r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.NotFound(w, r)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), challengeTime)
		defer cancel()
		answer, err := lookUp(ctx, slots, known, token)
		switch {
		case errors.Is(err, ErrNoChallenge):
			http.NotFound(w, r)
		case err != nil:
			http.Error(w, "not available now", http.StatusServiceUnavailable) // the cause is for nobody outside
		default:
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			if _, err := io.WriteString(w, answer); err != nil { //nolint:gosec // a key authorization: base64url
				return // the client has gone
			}
		}
	})
}

func lookUp(ctx context.Context, slots chan struct{}, known Challenges, token string) (string, error) {
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
		return known.Challenge(ctx, token)
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
