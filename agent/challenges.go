package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/issuer"
	"github.com/tlsfleet/tlsfleet/agent/status"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// challengesOf is how nginx answers HTTP-01 challenges: by itself, once the
// thumbprint is known, or by asking this node's agent.
func challengesOf(a config.ACME, thumbprint string) renderer.Challenges {
	if a.HTTP01 == config.HTTP01Agent {
		return renderer.Challenges{Proxy: a.ChallengeAddress, Listen: a.HTTPListen}
	}
	return renderer.Challenges{Thumbprint: thumbprint, Listen: a.HTTPListen}
}

// readThrough answers the challenges that nginx passes on with what the leader
// has put into Consul.
type readThrough struct {
	log   hclog.Logger
	store *store.Store
}

// Challenge implements status.Challenges.
func (r readThrough) Challenge(ctx context.Context, token string) (string, error) {
	c, err := r.store.Challenge(ctx, token)
	switch {
	case err == nil:
		return c.Answer(), nil
	case errors.Is(err, store.ErrMissing):
		return "", status.ErrNoChallenge
	case ctx.Err() == nil:
		r.log.Warn("challenge not read", "token", token, "err", err)
	}
	return "", err
}

// oldChallenge is the age at which no CA asks for a challenge any more.
const oldChallenge = time.Hour

// publisher makes challenges known to the nodes' agents for as long as its term
// lasts.
type publisher struct {
	issuer.Responder
	store   *store.Store
	session string
	log     hclog.Logger
}

// Publish implements issuer.Publisher.
func (p publisher) Publish(ctx context.Context, token, thumbprint string) (withdraw func(), _ error) {
	if err := p.store.PutChallenge(ctx, store.Challenge{Token: token, Thumbprint: thumbprint, At: time.Now()}, p.session); err != nil {
		return nil, err
	}
	return func() {
		if err := p.store.DropChallenges(context.WithoutCancel(ctx), []string{token}, p.session); err != nil && !errors.Is(err, store.ErrFenced) {
			p.log.Warn("challenge not taken away, it is when an agent leads next", "err", err)
		}
	}, nil
}

// publish has the leader's challenges read through Consul, and takes away what a
// leader before has left.
func (t *term) publish(ctx context.Context) error {
	t.responder = t.rules.responder
	if !t.rules.published {
		return nil
	}
	old, err := t.store.OldChallenges(ctx, time.Now().Add(-oldChallenge))
	if err == nil {
		err = t.store.DropChallenges(ctx, old, t.session)
	}
	if err != nil {
		return fmt.Errorf("tidy challenges: %w", err)
	}
	t.responder = publisher{t.rules.responder, t.store, t.session, t.log}
	return nil
}
