package issuer

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-acme/lego/v4/acme"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

// ErrOther means that what a CA gave is not what was ordered.
var ErrOther = errors.New("not the certificate that was ordered")

// Lifetimes that a CA may give: more than what clocks are off, and no more than
// what browsers once took.
const (
	leastLife = 10 * time.Minute
	mostLife  = 400 * 24 * time.Hour
	skew      = 24 * time.Hour // a certificate begins so much in the future at most
)

// fetch takes the certificate of a valid order and checks it.
func (c *Client) fetch(it issuance.Item, order acme.ExtendedOrder) (bundle.Bundle, error) {
	if order.Certificate == "" {
		return bundle.Bundle{}, fmt.Errorf("a valid order without a certificate: %w", errAnswer)
	}
	chain, err := retried(func() ([]byte, error) {
		chain, _, err := c.core.Certificates.Get(order.Certificate, true)
		return chain, err
	})
	if err != nil {
		return bundle.Bundle{}, err
	}
	b, err := check(it, chain, time.Now())
	if err != nil {
		return bundle.Bundle{}, at(issuance.StageCheck, err)
	}
	return b, nil
}

// check makes a bundle of what a CA gave, if it has our key, exactly the names
// that were ordered, its chain in order, and a sane lifetime.
func check(it issuance.Item, chain []byte, now time.Time) (bundle.Bundle, error) {
	der := it.Order.Key.Reveal()
	defer clear(der)
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	defer clear(key)
	b, err := bundle.FromPEM(chain, key)
	if err != nil {
		return bundle.Bundle{}, fmt.Errorf("%w: %w", ErrOther, err)
	}
	leaf, err := x509.ParseCertificate(b.Leaf)
	if err != nil {
		return bundle.Bundle{}, fmt.Errorf("%w: %w", ErrOther, err)
	}
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	switch {
	case leaf.NotBefore.After(now.Add(skew)) || !leaf.NotAfter.After(now):
		return bundle.Bundle{}, fmt.Errorf("%w: valid from %s to %s, it is %s", ErrOther, leaf.NotBefore, leaf.NotAfter, now.UTC())
	case life < leastLife || life > mostLife:
		return bundle.Bundle{}, fmt.Errorf("%w: valid for %s", ErrOther, life)
	}
	// A clock that is behind by less than skew is no fault of the certificate.
	info, err := bundle.Check(b, bundle.Policy{Now: latest(now, leaf.NotBefore)})
	if err != nil {
		return bundle.Bundle{}, fmt.Errorf("%w: %w", ErrOther, err)
	}
	names := slices.Clone(info.Names)
	slices.Sort(names)
	if !slices.Equal(slices.Compact(names), it.Names) {
		return bundle.Bundle{}, fmt.Errorf("%w: it is for %q, ordered were %q", ErrOther, names, it.Names)
	}
	return b, nil
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
