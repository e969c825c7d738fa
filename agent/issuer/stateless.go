package issuer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

// Stateless answers HTTP-01 challenges by what every node's nginx says by
// itself: the token and the thumbprint of the account key (RFC 8555, section
// 8.3). There is nothing to do for a challenge.
type Stateless struct{}

// Kind implements Chooser.
func (Stateless) Kind(string, bool) string { return HTTP01 }

// Prove implements Responder.
func (Stateless) Prove(context.Context, string) error { return errNoChallenge }

// Present implements Responder.
func (Stateless) Present(context.Context, string, string, string) error { return errNoChallenge }

// CleanUp implements Responder.
func (Stateless) CleanUp(context.Context, string, string, string) {}

// ErrWildcard means that nothing answers the only challenge that there is for a
// wildcard (RFC 8555, section 7.1.3; no CA validates one by HTTP).
var ErrWildcard = errors.New("a wildcard needs DNS-01, and no dns block of the configuration is for it")

// Answerable refuses, with ErrWildcard, names whose challenges nothing can
// answer.
func Answerable(c Chooser, names []string) error {
	for _, name := range names {
		if strings.HasPrefix(name, fleet.Wildcard) && kindOf(c, name) != DNS01 {
			return fmt.Errorf("%s: %w", name, ErrWildcard)
		}
	}
	return nil
}

// kindOf is the challenge for a name as it is in a certificate.
func kindOf(c Chooser, name string) string {
	base, wildcard := strings.CutPrefix(name, fleet.Wildcard)
	return c.Kind(base, wildcard)
}

// answersDNS reports whether any of the names is proved by DNS-01.
func answersDNS(c Chooser, names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return kindOf(c, name) == DNS01 })
}

// ProveNames shows that the names of a certificate that need DNS-01 can be
// proved, each once: a name and its wildcard have the same record. Errors wrap
// ErrPreflight.
func ProveNames(ctx context.Context, r Responder, names []string) error {
	proved := map[string]bool{}
	for _, name := range names {
		base := strings.TrimPrefix(name, fleet.Wildcard)
		if kindOf(r, name) != DNS01 || proved[base] {
			continue
		}
		proved[base] = true
		if err := r.Prove(ctx, base); err != nil {
			return at(issuance.StagePreflight, fmt.Errorf("preflight of %s: %w: %w", name, ErrPreflight, err))
		}
	}
	return nil
}

// ByHTTP are the names that are proved by HTTP-01.
func ByHTTP(c Chooser, names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return kindOf(c, name) != HTTP01 })
}
