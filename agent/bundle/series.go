package bundle

import "github.com/tlsfleet/tlsfleet/agent/fleet"

// Series reads records and makes hashes and files of many bundles, and looks at
// a chain that they share once. It has one user at a time. The zero value is ready.
type Series struct {
	chains map[*[]byte]*seriesChain // by their first element, which keeps them in memory
}

// seriesChain is what is made of a chain.
type seriesChain struct {
	of   [][]byte
	hash fleet.Hash
	pem  []byte // when it was asked for
}

// Hash is the function Hash.
func (s *Series) Hash(b Bundle) fleet.Hash { return hashWith(b, s.chain(b.Chain).hash) }

// AppendFullchainPEM appends what the function FullchainPEM makes.
func (s *Series) AppendFullchainPEM(dst []byte, b Bundle) []byte {
	dst = appendPEM(dst, certificate, b.Leaf)
	c := s.chain(b.Chain)
	if c.pem == nil {
		c.pem = appendChainPEM(nil, b.Chain)
	}
	return append(dst, c.pem...)
}

// chain is what is known of a chain.
func (s *Series) chain(ders [][]byte) *seriesChain {
	if len(ders) == 0 {
		return &seriesChain{}
	}
	if c, known := s.chains[&ders[0]]; known && len(c.of) == len(ders) {
		return c
	}
	if s.chains == nil || len(s.chains) >= maxParsed {
		s.chains = map[*[]byte]*seriesChain{}
	}
	c := &seriesChain{of: ders, hash: ChainHash(ders)}
	s.chains[&ders[0]] = c
	return c
}
