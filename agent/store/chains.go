package store

import (
	"context"
	"sync"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// maxChains is how many chains a store remembers: a fleet has one per issuer.
const maxChains = 32

// chainCache remembers the chains that were read last. The zero value is empty.
type chainCache struct {
	mu     sync.Mutex
	chains map[fleet.Hash][][]byte
	order  []fleet.Hash // the oldest first
}

func (c *chainCache) get(hash fleet.Hash) ([][]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	chain, ok := c.chains[hash]
	return chain, ok
}

func (c *chainCache) add(hash fleet.Hash, chain [][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.chains[hash]; ok {
		return
	}
	if c.chains == nil {
		c.chains = map[fleet.Hash][][]byte{}
	}
	if len(c.order) == maxChains {
		delete(c.chains, c.order[0])
		c.order = c.order[1:]
	}
	c.chains[hash] = chain
	c.order = append(c.order, hash)
}

// chain reads a chain by its hash; there is no record of the empty one.
func (s *Store) chain(ctx context.Context, hash fleet.Hash) ([][]byte, error) {
	if hash.IsZero() {
		return nil, nil
	}
	if chain, ok := s.chains.get(hash); ok {
		return chain, nil
	}
	pair, err := s.findImmutable(ctx, chainPath(hash))
	if err != nil {
		return nil, err
	}
	chain, err := s.openChain(hash, pair.Value)
	if err != nil {
		return nil, err
	}
	s.chains.add(hash, chain)
	return chain, nil
}

// chainOnce is chain, asked at most once for each hash whatever comes of it.
func (s *Store) chainOnce(ctx context.Context) func(fleet.Hash) ([][]byte, error) {
	type answer struct {
		chain [][]byte
		err   error
	}
	answers := map[fleet.Hash]answer{}
	return func(hash fleet.Hash) ([][]byte, error) {
		a, asked := answers[hash]
		if !asked {
			a.chain, a.err = s.chain(ctx, hash)
			answers[hash] = a
		}
		return a.chain, a.err
	}
}

func (s *Store) openChain(hash fleet.Hash, sealed []byte) ([][]byte, error) {
	return open(s, chainPath(hash), sealed, func(plain []byte) ([][]byte, uint64, error) {
		chain, err := bundle.DecodeChain(plain)
		if err == nil && bundle.ChainHash(chain) != hash {
			err = errOtherHash
		}
		return chain, immutable, err
	})
}

func (s *Store) sealChain(hash fleet.Hash, chain [][]byte) ([]byte, error) {
	plain, err := bundle.EncodeChain(chain)
	if err != nil {
		return nil, err
	}
	return s.seal(chainPath(hash), immutable, plain)
}
