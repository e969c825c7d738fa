package bundle

import (
	"crypto/x509"
	"fmt"
	"slices"
	"sync"
)

// Checker checks many bundles, and reads a chain that they share once. It may
// be used concurrently. The zero value is ready.
type Checker struct {
	mu     sync.Mutex
	chains map[*[]byte][]*x509.Certificate // by their first element, which keeps them in memory
}

// maxParsed is how many chains a Checker remembers.
const maxParsed = 32

// path returns the leaf and its chain.
func (c *Checker) path(b Bundle) ([]*x509.Certificate, error) {
	leaf, err := x509.ParseCertificate(b.Leaf)
	if err != nil {
		return nil, fmt.Errorf("%w: certificate 1: %w", ErrFormat, err)
	}
	if len(b.Chain) == 0 {
		return []*x509.Certificate{leaf}, nil
	}
	chain, err := c.chain(b.Chain)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(chain, leaf.Equal) {
		return nil, fmt.Errorf("%w: %q is in it twice", ErrChain, label(leaf))
	}
	return append([]*x509.Certificate{leaf}, chain...), nil
}

func (c *Checker) chain(ders [][]byte) ([]*x509.Certificate, error) {
	c.mu.Lock()
	chain, known := c.chains[&ders[0]]
	c.mu.Unlock()
	if known && len(chain) == len(ders) {
		return chain, nil
	}
	chain, err := parseChain(ders)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.chains == nil || len(c.chains) >= maxParsed {
		c.chains = map[*[]byte][]*x509.Certificate{}
	}
	c.chains[&ders[0]] = chain
	return chain, nil
}

func parseChain(ders [][]byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for i, der := range ders {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%w: certificate %d: %w", ErrFormat, i+2, err)
		}
		if slices.ContainsFunc(chain, c.Equal) {
			return nil, fmt.Errorf("%w: %q is in it twice", ErrChain, label(c))
		}
		chain = append(chain, c)
	}
	return chain, nil
}
