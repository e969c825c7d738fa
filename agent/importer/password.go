package importer

import (
	"errors"
	"sync"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// passwords opens PKCS#12 files, one at a time.
type passwords struct {
	ask   func(path string) (fleet.Secret, error)
	mu    sync.Mutex
	known []fleet.Secret // those that opened a file, the latest first
}

func (p *passwords) open(path string, data []byte) (bundle.Bundle, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, password := range append([]fleet.Secret{{}}, p.known...) {
		b, err := bundle.FromPKCS12(data, password)
		if !errors.Is(err, bundle.ErrPassword) {
			return b, err
		}
	}
	if p.ask == nil {
		return bundle.Bundle{}, ErrNoPassword
	}
	password, err := p.ask(path)
	if err != nil {
		return bundle.Bundle{}, err
	}
	b, err := bundle.FromPKCS12(data, password)
	if err == nil && len(p.known) < 4 {
		p.known = append([]fleet.Secret{password}, p.known...)
	}
	return b, err
}
