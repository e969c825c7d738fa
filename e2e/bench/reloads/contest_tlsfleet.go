package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// tlsfleet is an agent on each node with its default pace, and a site.
type tlsfleet struct {
	agents *lab.Agents
	store  *store.Store
}

const siteText = `site "shop" {
  server_names = [%q]
  http         = "off"
  backends {
    service = %q
  }
}
`

// newTLSFleet starts the agents, because only then is there a keyring.
func newTLSFleet(ctx context.Context, p *lab.Program, s *scene) (*tlsfleet, error) {
	pace := config.Default().Reload
	agents, err := s.fleet.StartAgents(ctx, p, lab.AgentOptions{
		Binary: s.o.tlsfleet, Consul: s.consul.Addr, Splay: pace.Splay, MinInterval: pace.MinInterval, Certificates: true,
	})
	if err != nil {
		return nil, err
	}
	ring, err := seal.Load(agents.Keyring)
	if err != nil {
		return nil, err
	}
	st, err := store.Open(store.Config{Address: s.consul.Addr, Fleet: lab.FleetName}, ring)
	return &tlsfleet{agents: agents, store: st}, err
}

func (t *tlsfleet) certify(ctx context.Context, c lab.Certificate) error {
	var blocks [][]byte
	for block, rest := pem.Decode(c.PEM); block != nil; block, rest = pem.Decode(rest) {
		blocks = append(blocks, block.Bytes)
	}
	if len(blocks) != 3 {
		return errors.New("write certificate: want leaf, issuer and key")
	}
	leaf, err := x509.ParseCertificate(blocks[0])
	if err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	_, err = t.store.EditInventory(ctx, store.Edit{Now: time.Now(), Put: []store.Certificate{{
		Bundle: bundle.Bundle{Leaf: blocks[0], Chain: blocks[1:2], Key: fleet.NewSecret(blocks[2])}, Names: c.Names,
		Entry: fleet.Entry{NotAfter: leaf.NotAfter, Source: fleet.SourceACME, Issuer: leaf.Issuer.CommonName},
	}}}, "", nil)
	return err
}

func (t *tlsfleet) start(ctx context.Context, p *lab.Program, _ *scene) error {
	file := filepath.Join(p.TempDir(), "shop.hcl")
	if err := os.WriteFile(file, fmt.Appendf(nil, siteText, siteName, service), 0o600); err != nil {
		return fmt.Errorf("write site: %w", err)
	}
	_, err := t.agents.Site(ctx, "set", file)
	return err
}

func (t *tlsfleet) ended() error {
	for _, c := range t.agents.Procs {
		if err := c.Ended(); err != nil {
			return err
		}
	}
	return nil
}
