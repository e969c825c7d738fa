package probe

import (
	"context"
	"errors"
	"fmt"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// ErrOffer means that a ticket was had, and that where it was offered no
// handshake came about.
var ErrOffer = errors.New("offer ticket")

// Resumes takes a session ticket at one listener and reports whether another,
// or the same, resumes with it, in one version of TLS (tls.VersionTLS12 or
// tls.VersionTLS13). It errs when no ticket could be had or a handshake fails.
// A ticket got with an expired certificate is never offered by crypto/tls. An
// error of the second wraps ErrOffer.
func Resumes(ctx context.Context, from, to fleet.Listener, version uint16) (bool, error) {
	first, err := client{listener: from, version: version, timeout: defaultTimeout}.shake(ctx)
	if err != nil {
		return false, fmt.Errorf("take ticket at %s: %w", from.Address, err)
	}
	second, err := client{listener: to, version: version, timeout: defaultTimeout, offer: first.session}.shake(ctx)
	if err != nil {
		return false, fmt.Errorf("%w to %s: %w", ErrOffer, to.Address, err)
	}
	return second.resumed, nil
}
