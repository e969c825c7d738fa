package issuer

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-acme/lego/v4/acme/api"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

// userAgent is what CAs see (RFC 8555, section 6.1).
const userAgent = "tlsfleet"

// Client asks one CA with one account during one term of leadership. It is safe
// for concurrent use.
type Client struct {
	// Fence, if there is one, is asked right before an order is placed, which an
	// error prevents.
	Fence func(ctx context.Context) error

	ca      CA
	http    *http.Client
	pages   *transport // of http
	core    *api.Core
	account string // URL

	validates, issues pace // of the CA
}

// Connect reads the directory of a CA and finds the account of a key there, or
// makes it. known is the account's URL if it was found before; then the CA is
// not asked for it. Every request ends with ctx. Errors have a stage.
func Connect(ctx context.Context, ca CA, key crypto.Signer, known string) (*Client, error) {
	client, pages, err := newHTTPClient(ctx, ca)
	if err != nil {
		return nil, at(issuance.StageAccount, err)
	}
	c := &Client{ca: ca, http: client, pages: pages, account: known}
	if c.account == "" {
		if c.account, err = c.register(key); err != nil {
			return nil, at(issuance.StageAccount, fmt.Errorf("register at CA %s: %w", ca.Name, err))
		}
	}
	if c.core, err = c.dial(key, c.account); err != nil {
		return nil, at(issuance.StageAccount, fmt.Errorf("connect to CA %s: %w", ca.Name, err))
	}
	return c, nil
}

// Account is the account's URL at the CA.
func (c *Client) Account() string { return c.account }

// Profiles are the profiles that the CA offers.
func (c *Client) Profiles() map[string]string { return c.core.GetDirectory().Meta.Profiles }

// dial reads the directory. lego wraps the transport of the client it is given,
// so each gets a client of its own.
func (c *Client) dial(key crypto.Signer, account string) (*api.Core, error) {
	own := *c.http
	return api.New(&own, userAgent, c.ca.Directory, account, key)
}

// nonces is how often a request is repeated whose nonce was refused (RFC 8555,
// section 6.5).
const nonces = 10

// retried repeats a request at once while the CA refuses its nonce, as often as
// it may.
func retried[T any](ask func() (T, error)) (T, error) {
	for n := 1; ; n++ {
		v, err := ask()
		var p *Problem
		if n == nonces || !errors.As(err, &p) || p.Type != "badNonce" {
			return v, err
		}
	}
}

// NewAccountKey makes a key for an account, as it is kept.
func NewAccountKey() (fleet.Secret, error) {
	key, err := newKey()
	if err != nil {
		return fleet.Secret{}, fmt.Errorf("make account key: %w", err)
	}
	return key, nil
}

// pause waits, or not if ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
