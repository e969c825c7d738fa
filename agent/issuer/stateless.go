package issuer

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Stateless answers HTTP-01 challenges by what every node's nginx says by
// itself: the token and the thumbprint of the account key (RFC 8555, section
// 8.3). There is nothing to do for a challenge.
type Stateless struct{}

// Kind implements Responder.
func (Stateless) Kind(string, bool) string { return HTTP01 }

// Present implements Responder.
func (Stateless) Present(context.Context, string, string, string) error { return nil }

// CleanUp implements Responder.
func (Stateless) CleanUp(context.Context, string, string, string) error { return nil }

// ErrWildcard means that nothing answers the only challenge that there is for a
// wildcard (RFC 8555, section 7.1.3; no CA validates one by HTTP).
var ErrWildcard = errors.New("a wildcard needs DNS-01, which this version does not have")

// Answerable refuses, with ErrWildcard, names whose challenges a responder cannot
// answer.
func Answerable(r Responder, names []string) error {
	for _, name := range names {
		base, wildcard := strings.CutPrefix(name, fleet.Wildcard)
		if wildcard && r.Kind(base, true) != DNS01 {
			return fmt.Errorf("%s: %w", name, ErrWildcard)
		}
	}
	return nil
}
