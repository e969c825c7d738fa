package issuer

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-acme/lego/v4/acme"
	"golang.org/x/sync/errgroup"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

// authorizers is how many names of one certificate are validated at a time.
const authorizers = 8

// authorize has the CA validate every name of an order that is not valid yet.
func (c *Client) authorize(ctx context.Context, order acme.ExtendedOrder, r Responder) error {
	lease := ctx
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(authorizers)
	for _, url := range order.Authorizations {
		g.Go(func() error {
			if err := c.validate(ctx, lease, url, r); err != nil {
				return at(issuance.StageValidate, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// errNoChallenge is an authorization that offers nothing that can be answered.
var errNoChallenge = errors.New("the CA offers no such challenge")

// validate has the CA validate one name. What it makes visible is taken away again
// for as long as the lease lasts.
func (c *Client) validate(ctx, lease context.Context, url string, r Responder) error {
	authz, err := retried(func() (acme.Authorization, error) { return c.core.Authorizations.Get(url) })
	if err != nil || authz.Status == acme.StatusValid {
		return err
	}
	if authz.Status != acme.StatusPending {
		return errors.Join(failed(authz), fmt.Errorf("authorization of %s is %q", authz.Identifier.Value, authz.Status))
	}
	challenge, err := choose(authz, r)
	if err != nil {
		return err
	}
	answer, err := c.core.GetKeyAuthorization(challenge.Token)
	if err != nil {
		return fmt.Errorf("answer challenge of %s: %w", authz.Identifier.Value, err)
	}
	name := authz.Identifier.Value
	withdraw, err := publish(ctx, r, challenge.Type, answer)
	if err != nil {
		return fmt.Errorf("answer challenge of %s: %w", name, err)
	}
	defer withdraw()
	if challenge.Type == DNS01 {
		defer r.CleanUp(lease, name, challenge.Token, answer)
		if err := r.Present(ctx, name, challenge.Token, answer); err != nil {
			return at(issuance.StageAnswer, fmt.Errorf("answer challenge of %s: %w", name, err))
		}
	}
	return c.challenge(ctx, url, challenge)
}

// tidy takes away what a former leader has left for names of an order that the
// CA has decided on.
func (c *Client) tidy(ctx context.Context, order acme.ExtendedOrder, r Responder) error {
	for _, url := range order.Authorizations {
		authz, err := retried(func() (acme.Authorization, error) { return c.core.Authorizations.Get(url) })
		if err != nil {
			return err
		}
		name := authz.Identifier.Value
		if authz.Status == acme.StatusPending || r.Kind(name, authz.Wildcard) != DNS01 {
			continue
		}
		for _, ch := range authz.Challenges {
			if ch.Type != DNS01 || ch.Token == "" {
				continue
			}
			answer, err := c.core.GetKeyAuthorization(ch.Token)
			if err != nil {
				return err
			}
			r.CleanUp(ctx, name, ch.Token, answer)
		}
	}
	return nil
}

// choose picks the challenge that the responder can answer.
func choose(authz acme.Authorization, r Responder) (acme.Challenge, error) {
	kind := r.Kind(authz.Identifier.Value, authz.Wildcard)
	for _, ch := range authz.Challenges {
		if ch.Type == kind && ch.Token != "" {
			return ch, nil
		}
	}
	return acme.Challenge{}, over(fmt.Errorf("%w: %s for %s", errNoChallenge, kind, authz.Identifier.Value))
}

// challenge asks the CA to look, once, and waits for what it finds.
func (c *Client) challenge(ctx context.Context, url string, ch acme.Challenge) error {
	if ch.Status == acme.StatusPending {
		if _, err := retried(func() (acme.ExtendedChallenge, error) { return c.core.Challenges.New(ch.URL) }); err != nil {
			return err
		}
	}
	return c.await(ctx, &c.validates, ch.URL, url, func() (bool, error) {
		authz, err := retried(func() (acme.Authorization, error) { return c.core.Authorizations.Get(url) })
		if err != nil {
			return false, err
		}
		return authz.Status != acme.StatusPending, failed(authz)
	})
}

// failed is why an authorization cannot become valid any more; nil if it is
// valid or may still become so.
func failed(authz acme.Authorization) error {
	if authz.Status == acme.StatusPending || authz.Status == acme.StatusValid {
		return nil
	}
	for _, ch := range authz.Challenges {
		if ch.Error != nil {
			return over(problemIn(ch.Error))
		}
	}
	return over(fmt.Errorf("authorization of %s is %q: %w", authz.Identifier.Value, authz.Status, errAnswer))
}
