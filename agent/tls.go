package agent

import (
	"context"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/handlers"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// tlsServing decides how this node's nginx serves the fleet's certificates.
type tlsServing struct {
	log      hclog.Logger
	cfg      config.Certificates
	renderer *renderer.Renderer
	view     *view
	served   *served
	reload   func(reason string)

	challenges func() renderer.Challenges
}

// servers is what a release made now has to serve.
func (t *tlsServing) servers() renderer.TLSServers {
	s := t.kind()
	if s.Mode != renderer.TLSNone {
		s.List = t.served.names()
	}
	return s
}

// kind is servers without the names.
func (t *tlsServing) kind() renderer.TLSServers {
	c := t.cfg
	if !c.Mode.Rendered() {
		return renderer.TLSServers{}
	}
	s := renderer.TLSServers{
		Mode: renderer.TLSMode(c.Mode), Names: renderer.NameMode(c.Names),
		Listen: c.Listen, ServerInclude: c.ServerInclude,
	}
	mode, cache := renderer.PickTLSMode(t.view.nginxVersion(), t.served.count())
	switch {
	case c.Mode == config.CertAuto:
		s.Mode, s.Cache = mode, cache
	case s.Mode == renderer.TLSVariable:
		s.Cache = cache
	}
	return s
}

// compare asks for a release if the active one is not what would be rendered
// now: the agent's configuration has changed, or a crash came between files
// and release.
func (t *tlsServing) compare() {
	reason, err := t.renderer.Outdated(t.servers(), t.challenges())
	if err != nil {
		t.log.Error("active release unreadable", "err", err)
		return
	}
	if reason != "" {
		t.reload(reason)
	}
}

// certUse is what nginx does with certificates that have changed.
type certUse struct {
	rendered bool            // tlsfleet renders servers for them
	held     map[string]bool // nginx loads these when it reads its configuration
	reload   bool            // nginx serves them after a reload
}

// changed plans what a change of files needs, and asks for it.
func (t *tlsServing) changed(ctx context.Context, c handlers.CertChange) certUse {
	ins, err := t.renderer.Inspect(ctx)
	if err != nil {
		t.log.Warn("nginx not inspected, so files that it holds are not known", "err", err)
	}
	effect := handlers.PlanCerts(t.decides(ins.HeldNames), c)
	if !effect.Reload && t.otherKind() {
		effect = handlers.CertEffect{Reload: true, Reason: otherKind}
	}
	t.log.Info("certificates changed", "added", len(c.Added), "replaced", len(c.Replaced), "dropped", len(c.Dropped),
		"reload", effect.Reload, "reason", effect.Reason)
	if effect.Reload {
		t.reload(effect.Reason)
	}
	u := certUse{rendered: t.kind().Mode != renderer.TLSNone, held: map[string]bool{}, reload: effect.Reload}
	for name := range ins.HeldNames {
		u.held[name] = true
	}
	return u
}

// decides is what a plan depends on, with the names whose files nginx holds.
func (t *tlsServing) decides(held map[string][]string) handlers.CertServing {
	s := t.kind()
	use := handlers.CertServing{
		OnDemand: t.cfg.Mode == config.CertOnDemand,
		Static:   s.Mode == renderer.TLSStatic,
		Listed:   s.Mode == renderer.TLSVariable && s.Names == renderer.NamesListed,
		Held:     held,
	}
	if s.Mode != renderer.TLSNone {
		use.Wild = t.served.wildcards()
	}
	return use
}

const otherKind = "another kind of servers fits the number of names"

// otherKind reports whether the active release serves in another way than one
// made now would.
func (t *tlsServing) otherKind() bool {
	s, was := t.kind(), t.view.serving()
	return was.Mode != s.Mode || was.Names != s.Names || was.Cache != s.Cache
}
