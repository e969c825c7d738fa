package issuer

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Publisher is a Responder whose nodes have to be told each answer to HTTP-01.
type Publisher interface {
	Responder
	// Publish makes token.thumbprint the answer for a token on every node. withdraw
	// takes it away; it is called once the CA has looked.
	Publish(ctx context.Context, token, thumbprint string) (withdraw func(), _ error)
}

// ErrPublish means that an answer could not be made known: the CA was not asked
// to look.
var ErrPublish = errors.New("answer not made known to the nodes")

// publish makes a key authorization known where that is needed.
func publish(ctx context.Context, r Responder, kind, keyAuthorization string) (withdraw func(), _ error) {
	p, ok := r.(Publisher)
	if !ok || kind != HTTP01 {
		return func() {}, nil
	}
	token, thumbprint, _ := strings.Cut(keyAuthorization, ".")
	withdraw, err := p.Publish(ctx, token, thumbprint)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPublish, err)
	}
	return withdraw, nil
}
