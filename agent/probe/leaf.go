package probe

import (
	"context"
	"errors"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// ErrNoAnswer means that nothing can be said of what a listener serves: it
// could not be reached, or it said nothing in time.
var ErrNoAnswer = errors.New("no answer")

// Leaf shakes hands with a listener for its ServerName, in TLS 1.2 or newer
// and without a ticket, and returns the leaf it shows, in DER. It is not
// verified: what counts is whether it is the one that should be served. The
// error wraps ErrNoAnswer where it is no verdict on the certificate.
func (p *Prober) Leaf(ctx context.Context, l fleet.Listener) ([]byte, error) {
	res, err := client{listener: l, timeout: p.timeout(), leaf: true}.shake(ctx)
	return res.leaf, err
}
