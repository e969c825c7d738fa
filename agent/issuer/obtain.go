package issuer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/go-acme/lego/v4/acme"
	"github.com/go-acme/lego/v4/acme/api"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

// The types of challenges that are answered (RFC 8555, section 8).
const (
	HTTP01 = "http-01"
	DNS01  = "dns-01"
)

// Chooser decides by which challenge a name is proved.
type Chooser interface {
	// Kind is the challenge's type for a name: HTTP01 or DNS01.
	Kind(name string, wildcard bool) string
}

// Responder makes challenges of DNS-01 come true. HTTP-01 needs nothing to be
// done: every node answers by itself.
type Responder interface {
	Chooser
	// Prove shows, before a CA is asked, that a name's challenge can be answered.
	Prove(ctx context.Context, name string) error
	// Present makes the answer to a challenge visible. The key authorization is
	// token.thumbprint (RFC 8555, section 8.1).
	Present(ctx context.Context, name, token, keyAuthorization string) error
	// CleanUp takes it away while ctx lasts. It follows each Present, and comes for
	// what a former leader may have left.
	CleanUp(ctx context.Context, name, token, keyAuthorization string)
}

// Obtain works an item's order to its end and returns the certificate, which is
// the one that was ordered: see check. placed is called with the order's URL
// before anything else is done with it; if it errs, Obtain ends. again says that
// the order may have been placed before without its URL being noted: then the CA
// is asked for it first. Errors have a stage: see FailureOf.
func (c *Client) Obtain(ctx context.Context, it issuance.Item, again bool, r Responder, placed func(url string) error) (bundle.Bundle, error) {
	if it.Order == nil {
		return bundle.Bundle{}, fmt.Errorf("obtain %s: %w", it, issuance.ErrState)
	}
	order, err := c.place(ctx, it, again)
	if err != nil {
		return bundle.Bundle{}, at(issuance.StageOrder, fmt.Errorf("order %s: %w", it, err))
	}
	if order.Location != it.Order.URL {
		if err := placed(order.Location); err != nil {
			return bundle.Bundle{}, at(issuance.StageOrder, fmt.Errorf("note order of %s: %w", it, err))
		}
	}
	if (again || it.Order.URL != "") && answersDNS(r, it.Names) {
		if err := c.tidy(ctx, order, r); err != nil {
			return bundle.Bundle{}, at(issuance.StageOrder, fmt.Errorf("tidy after order of %s: %w", it, err))
		}
	}
	if order, err = c.work(ctx, it, order, r); err != nil {
		return bundle.Bundle{}, err
	}
	b, err := c.fetch(it, order)
	if err != nil {
		return bundle.Bundle{}, at(issuance.StageFinalize, fmt.Errorf("fetch certificate of %s: %w", it, err))
	}
	return b, nil
}

// work drives an order until it is valid.
func (c *Client) work(ctx context.Context, it issuance.Item, order acme.ExtendedOrder, r Responder) (acme.ExtendedOrder, error) {
	url := order.Location
	for {
		before, begun := order.Status, url
		switch before {
		case acme.StatusPending:
			if err := c.authorize(ctx, order, r); err != nil {
				return order, err
			}
			fallthrough // it is ready when all its names are valid (RFC 8555, section 7.1.6)
		case acme.StatusReady:
			begun = order.Finalize
			answer, err := c.finalize(order, it.Order.CSR)
			if err != nil {
				return order, err
			}
			if answer.Status == acme.StatusValid && answer.Certificate != "" {
				return answer, nil
			}
		case acme.StatusProcessing:
		case acme.StatusValid:
			return order, nil
		default:
			return order, c.invalid(order)
		}
		look := func() (done bool, err error) {
			if order, err = retried(func() (acme.ExtendedOrder, error) { return c.core.Orders.Get(url) }); err != nil {
				return false, at(issuance.StageFinalize, err)
			}
			order.Location = url
			return order.Status != before && (begun == url || order.Status != acme.StatusProcessing), nil
		}
		if err := c.await(ctx, &c.issues, begun, url, look); err != nil {
			return order, at(issuance.StageFinalize, fmt.Errorf("await order %s: %w", url, err))
		}
	}
}

// finalize sends the CSR. An order that was finalized before, by a leader that
// did not see the answer, is as good: then the answer is no order, and the next
// look tells.
func (c *Client) finalize(order acme.ExtendedOrder, csr []byte) (acme.ExtendedOrder, error) {
	answer, err := retried(func() (acme.ExtendedOrder, error) { return c.core.Orders.UpdateForCSR(order.Finalize, csr) })
	var p *Problem
	var invalid *acme.ProblemDetails // of an order that this has made invalid
	if errors.As(err, &p) && p.Type == "orderNotReady" || errors.As(err, &invalid) {
		return acme.ExtendedOrder{}, nil
	}
	if err != nil {
		return answer, at(issuance.StageFinalize, fmt.Errorf("finalize: %w", err))
	}
	answer.Location = order.Location
	return answer, nil
}

// invalid tells why an order failed.
func (c *Client) invalid(order acme.ExtendedOrder) error {
	if order.Status != acme.StatusInvalid {
		return at(issuance.StageFinalize, fmt.Errorf("order is %q: %w", order.Status, errAnswer))
	}
	if order.Error != nil {
		return at(issuance.StageValidate, over(problemIn(order.Error)))
	}
	for _, url := range order.Authorizations {
		authz, err := retried(func() (acme.Authorization, error) { return c.core.Authorizations.Get(url) })
		if err != nil {
			return at(issuance.StageValidate, err)
		}
		if err := failed(authz); err != nil {
			return at(issuance.StageValidate, err)
		}
	}
	return at(issuance.StageValidate, over(fmt.Errorf("order is %q: %w", order.Status, errAnswer)))
}

// problemIn is a problem that was part of an answer.
func problemIn(doc *acme.ProblemDetails) error {
	typ, detail := problemOf(doc)
	return &Problem{Status: doc.HTTPStatus, Type: typ, Detail: detail}
}

// place finds the order of an item or makes it. One that the CA does not have
// any more, or not for this account, is made anew.
func (c *Client) place(ctx context.Context, it issuance.Item, again bool) (acme.ExtendedOrder, error) {
	if url := it.Order.URL; url != "" {
		order, err := retried(func() (acme.ExtendedOrder, error) { return c.core.Orders.Get(url) })
		order.Location = url
		if !gone(err) {
			return order, at(issuance.StageFinalize, err)
		}
	} else if again {
		if order, ok, err := c.find(ctx, it); ok || err != nil {
			return order, at(issuance.StageAccount, err)
		}
	}
	if err := c.suits(ctx, it); err != nil {
		return acme.ExtendedOrder{}, err
	}
	if c.Fence != nil {
		if err := c.Fence(ctx); err != nil {
			return acme.ExtendedOrder{}, err
		}
	}
	order, err := c.order(it, it.Order.Replaces)
	if it.Order.Replaces != "" && replacesRefused(err) {
		order, err = c.order(it, "")
	}
	err = c.refused(it.Profile, err)
	var p *Problem
	switch {
	case errors.As(err, &p) && p.Status < http.StatusInternalServerError:
		err = over(err)
	case err == nil && order.Location == "":
		err = fmt.Errorf("an order without a URL: %w", errAnswer)
	}
	return order, err
}

// order asks for a new one.
func (c *Client) order(it issuance.Item, replaces string) (acme.ExtendedOrder, error) {
	options := &api.OrderOptions{Profile: it.Profile, ReplacesCertID: replaces}
	return retried(func() (acme.ExtendedOrder, error) { return c.core.Orders.NewWithOptions(it.Names, options) })
}

// replacesRefused reports whether a CA may have refused an order for what it
// says that it replaces: that was replaced before (RFC 9773, section 7.4), the CA
// has no such certificate of this account, or it fails to look for it, as Pebble
// does where a serial number begins with a zero byte.
func replacesRefused(err error) bool {
	var p *Problem
	return gone(err) || errors.As(err, &p) && (p.Type == "alreadyReplaced" || p.Type == "serverInternal")
}

// sameNames reports whether an order is for exactly these names.
func sameNames(order acme.Order, names []string) bool {
	var got []string
	for _, id := range order.Identifiers {
		got = append(got, strings.ToLower(id.Value))
	}
	slices.Sort(got)
	return slices.Equal(slices.Compact(got), names)
}
