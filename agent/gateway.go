package agent

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/status"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// looks is how often a certificate is looked for that is replaced while it is
// read.
const looks = 3

// errQuarantined means that nginx did not serve a certificate on this node.
var errQuarantined = fmt.Errorf("%w: it is in quarantine on this node", status.ErrUnusable)

// gateway finds certificates for an nginx that loads them in code. It answers
// from the node's own files, so that it needs no Consul for what is here.
type gateway struct {
	log      hclog.Logger
	renderer *renderer.Renderer
	served   *served
	known    *directory
	demand   *demand // nil: the node has all certificates
}

// serve answers on the gateway's socket until ctx ends. Who may read the files
// of private keys may ask for them too, unless the configuration says who may.
func (g *gateway) serve(ctx context.Context, c config.Certificates) error {
	gid, err := g.renderer.WorkerGroup()
	if c.GatewayGroup != "" {
		gid, err = status.GroupID(c.GatewayGroup)
	}
	if err != nil {
		return err
	}
	return status.ServeCertificates(ctx, c.GatewaySocket, gid, g)
}

// Certificate implements status.Certificates.
func (g *gateway) Certificate(ctx context.Context, name string, have fleet.Hash) (status.Certificate, error) {
	asked, err := inventory.Normalize(name)
	if err != nil {
		return status.Certificate{}, fmt.Errorf("%w: %w", status.ErrNoCertificate, err)
	}
	for range looks {
		var c status.Certificate
		c, err = g.look(ctx, asked, have)
		if !errors.Is(err, renderer.ErrNoBundle) {
			return c, err
		}
	}
	g.log.Warn("certificate not read", "name", asked, "err", err)
	return status.Certificate{}, fmt.Errorf("%w: %w", status.ErrNotNow, err)
}

func (g *gateway) look(ctx context.Context, asked string, have fleet.Hash) (status.Certificate, error) {
	name, ok := inventory.Match(asked, g.here)
	if g.demand != nil {
		name, ok = inventory.Match(asked, func(name string) bool { return g.here(name) || g.listed(name) })
	}
	if !ok {
		return status.Certificate{}, g.absent(asked)
	}
	hash, here := g.served.bundle(name)
	switch {
	case !here && g.demand == nil:
		return status.Certificate{}, g.absent(asked) // dropped just now
	case !here:
		return g.fetch(ctx, name, have)
	case g.demand != nil:
		g.demand.kept.touch(name)
	}
	if g.known.bars(name, hash) {
		return status.Certificate{}, fmt.Errorf("%w: it is being taken back", status.ErrNotNow)
	}
	if hash == have {
		return status.Certificate{Name: name, Bundle: hash}, nil
	}
	b, err := g.renderer.ReadBundle(hash)
	if errors.Is(err, renderer.ErrSpoiled) {
		g.log.Error("certificate not served: its files were changed", "name", name, "err", err)
		return status.Certificate{}, fmt.Errorf("%w: %w", status.ErrNotNow, err)
	}
	if err != nil {
		return status.Certificate{}, err
	}
	return answerWith(name, hash, b)
}

// here reports whether the node has a certificate of the very name.
func (g *gateway) here(name string) bool {
	if _, served := g.served.bundle(name); !served {
		return false
	}
	e, known := g.known.lookup(name)
	return !known || !e.Removed
}

// listed reports whether the inventory has a certificate for the very name.
func (g *gateway) listed(name string) bool {
	e, known := g.known.lookup(name)
	return known && !e.Removed
}

// absent says whether there is no certificate for a name or just none yet.
func (g *gateway) absent(name string) error {
	loaded, whole := g.known.state()
	match, awaited := inventory.Match(name, g.listed)
	switch e, _ := g.known.lookup(match); {
	case !loaded:
		return fmt.Errorf("%w: the agent has just started", status.ErrNotNow)
	case awaited && g.known.bars(match, e.Bundle):
		return errQuarantined
	case awaited:
		return fmt.Errorf("%w: it is not on this node yet", status.ErrNotNow)
	}
	if e, known := g.known.lookup(name); !whole && (!known || !e.Removed) {
		return fmt.Errorf("%w: this node has not read the whole inventory yet", status.ErrNotNow)
	}
	return status.ErrNoCertificate
}

// fetch answers with a certificate that the inventory lists and the node does
// not have.
func (g *gateway) fetch(ctx context.Context, name string, have fleet.Hash) (status.Certificate, error) {
	e, ok := g.known.lookup(name)
	if !ok || e.Removed {
		return status.Certificate{}, g.absent(name)
	}
	if g.known.bars(name, e.Bundle) {
		return status.Certificate{}, errQuarantined
	}
	if e.Bundle == have {
		return status.Certificate{Name: name, Bundle: have}, nil
	}
	b, err := g.demand.fetch(ctx, name, e.Bundle)
	if err != nil {
		return status.Certificate{}, err
	}
	return answerWith(name, e.Bundle, b)
}

func answerWith(name string, hash fleet.Hash, b bundle.Bundle) (status.Certificate, error) {
	leaf, err := x509.ParseCertificate(b.Leaf)
	if err != nil {
		return status.Certificate{}, fmt.Errorf("%w: %w", status.ErrUnusable, err)
	}
	return status.Certificate{
		Name: name, Bundle: hash, NotAfter: leaf.NotAfter.UTC(), Fullchain: bundle.FullchainPEM(b), Key: bundle.KeyPEM(b),
	}, nil
}
