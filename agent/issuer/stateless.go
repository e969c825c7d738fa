package issuer

import "context"

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
