package renderer

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/templates"
)

// Challenges is how nginx answers HTTP-01 challenges: without an agent, with the
// token and the thumbprint (RFC 8555, section 8.3), or by asking its agent.
// Without either it does not.
type Challenges struct {
	Thumbprint string `json:"thumbprint,omitempty"` // of the ACME account key, as fleet.IsThumbprint takes it
	Proxy      string `json:"proxy,omitempty"`      // loopback address:port where the agent answers
	// Listen has the parameters of each listen of a server that answers for
	// names no other server there has: "80". None: there is only a file that the
	// operator's servers include.
	Listen []string `json:"listen,omitempty"`
}

func (c Challenges) check() error {
	if c.Thumbprint != "" && !fleet.IsThumbprint(c.Thumbprint) {
		return fmt.Errorf("make release: %.60q is no thumbprint of a key", c.Thumbprint)
	}
	if c.Proxy == "" {
		return nil
	}
	if a, err := netip.ParseAddrPort(c.Proxy); err != nil || !a.Addr().IsLoopback() || c.Thumbprint != "" {
		return fmt.Errorf("make release: challenges passed on to %.60q", c.Proxy)
	}
	return nil
}

// none reports whether nginx does not answer.
func (c Challenges) none() bool { return c.Thumbprint == "" && c.Proxy == "" }

// Same reports whether both render the same configuration.
func (c Challenges) Same(o Challenges) bool {
	return c.Thumbprint == o.Thumbprint && c.Proxy == o.Proxy && (c.none() || slices.Equal(c.Listen, o.Listen))
}

// values is what the templates need; nil for nothing.
func (c Challenges) values() *templates.Challenges {
	if c.none() {
		return nil
	}
	return &templates.Challenges{Thumbprint: c.Thumbprint, Proxy: c.Proxy, Listen: c.Listen}
}
