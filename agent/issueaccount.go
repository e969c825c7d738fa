package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/singleflight"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/issuer"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// openAccount reads the fleet's ACME account key, or makes it, and tells every
// node its thumbprint.
func (t *term) openAccount(ctx context.Context) error {
	rec, err := t.store.Account(ctx)
	if errors.Is(err, store.ErrMissing) {
		rec, err = t.createAccount(ctx)
	}
	if err == nil && rec.Old {
		if rec, err = t.store.PutAccount(ctx, rec.Account, rec.Index, t.session); err == nil {
			t.log.Info("ACME account sealed with the leaders' keyring")
		}
	}
	if err != nil {
		return err
	}
	if t.key, err = issuer.ParseKey(rec.Account.Key); err != nil {
		return err
	}
	thumbprint, err := issuer.Thumbprint(t.key)
	if err != nil {
		return err
	}
	t.clients = &clients{term: t, account: rec, thumbprint: thumbprint, open: map[string]*issuer.Client{}}
	return t.store.PutAnswer(ctx, store.Answer{Thumbprint: thumbprint}, t.session)
}

// createAccount makes the one key of the fleet, if it never had one.
func (t *term) createAccount(ctx context.Context) (store.AccountRecord, error) {
	if err := t.lost(ctx); err != nil {
		return store.AccountRecord{}, err
	}
	key, err := issuer.NewAccountKey()
	if err != nil {
		return store.AccountRecord{}, err
	}
	rec, err := t.store.PutAccount(ctx, issuance.Account{Key: key}, 0, t.session)
	if errors.Is(err, store.ErrConflict) {
		return t.store.Account(ctx)
	}
	if err == nil {
		t.log.Info("ACME account key made")
	}
	return rec, err
}

// clients are the connections to CAs of one term, made when they are needed.
type clients struct {
	term       *term
	thumbprint string
	connecting singleflight.Group // by the CA's name

	mu      sync.Mutex // not held while a CA is asked: one that hangs holds up no other
	account store.AccountRecord
	open    map[string]*issuer.Client
}

// errUnknownCA is a CA that an order is at and the configuration does not have.
var errUnknownCA = errors.New("it is not in the configuration any more")

// of is the client of a CA by its name. Those that need it at the same time share
// one connection, or the error of one.
func (c *clients) of(ctx context.Context, name string) (*issuer.Client, error) {
	v, err, _ := c.connecting.Do(name, func() (any, error) {
		c.mu.Lock()
		client, ok := c.open[name]
		c.mu.Unlock()
		if ok {
			return client, nil
		}
		if ca, ok := c.term.rules.ca(name); ok {
			return c.connect(ctx, ca)
		}
		return nil, fmt.Errorf("ask CA %s: %w", name, errUnknownCA)
	})
	client, ok := v.(*issuer.Client)
	if err != nil || !ok {
		return nil, err
	}
	return client, nil
}

// connect makes a client, registers the account if the CA does not have it, and
// remembers where it is.
func (c *clients) connect(ctx context.Context, ca issuer.CA) (*issuer.Client, error) {
	c.mu.Lock()
	known := c.account.Account.URLs[ca.Directory]
	c.mu.Unlock()
	client, err := issuer.Connect(ctx, ca, c.term.key, known)
	if err != nil {
		return nil, err
	}
	// A leader that was frozen does not know that there is another by now.
	client.Fence = func(ctx context.Context) error {
		if err := c.term.store.Leads(ctx, c.term.session); err != nil {
			return fmt.Errorf("%w: %w", errConsul, err)
		}
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known == "" {
		if err := c.put(ctx, c.account.Account.With(ca.Directory, client.Account())); err != nil {
			return nil, err
		}
		c.term.log.Info("registered at CA", "ca", ca.Name, "account", client.Account())
	}
	c.open[ca.Name] = client
	return client, nil
}

// forget drops a client whose account the CA does not know any more, so that
// the next one registers anew. Of several that learn it only the first does.
func (c *clients) forget(ctx context.Context, name string, client *issuer.Client) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[name] != client {
		return nil
	}
	c.term.log.Error("the CA does not know the account any more, registering anew", "ca", name)
	delete(c.open, name)
	if ca, ok := c.term.rules.ca(name); ok {
		return c.put(ctx, c.account.Account.Without(ca.Directory))
	}
	return nil
}

// errConsul is trouble with Consul in what is asked of a CA.
var errConsul = errors.New("no trouble of the CA's")

// put journals the account, with mu held. Only a leader writes it, so what has changed in
// between was written by this one, without an answer of Consul's.
func (c *clients) put(ctx context.Context, a issuance.Account) error {
	rec, err := c.term.store.PutAccount(ctx, a, c.account.Index, c.term.session)
	if errors.Is(err, store.ErrConflict) {
		if rec, err = c.term.store.Account(ctx); err == nil {
			rec, err = c.term.store.PutAccount(ctx, a, rec.Index, c.term.session)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errConsul, err)
	}
	c.account = rec
	return nil
}
