package e2e

import (
	"fmt"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// TestNarrowedTokenKeepsBackends takes the service of a site out of the sight of a
// node: the site keeps its last backends and is reported, until the token may see
// the service again.
func TestNarrowedTokenKeepsBackends(t *testing.T) {
	t.Parallel()
	consul, token, allow := aclConsul(t)
	o := FleetOptions{Nodes: 1, Consul: consul, Settings: with(listed, Settings{"consul.token": token})}
	f, ca := newSiteFleet(t, o), newCA(t)
	n, service := f.Nodes[0], f.Name+"-web"
	f.Import(t, ca.Issue(t, 30, "shop.test"))
	a, b := backendThat(t, "A"), backendThat(t, "B")
	f.Join(t, service, a)
	f.SetSites(t, siteOn("shop", "shop.test", service))
	f.AwaitAnswer(t, ca, "shop.test", f.Nodes, "backend A.")
	n.AwaitNoProblem(t)

	n.Agent.Stop(t) // a query that blocks keeps the rights it began with
	allow(wideRules + fmt.Sprintf("service %q { policy = \"deny\" }\n", service))
	f.Join(t, service, b)
	n.StartAgent(t)
	WantProblem(t, n.AwaitProblem(t, "site-backends-kept"), fleet.Warning, "shop", service, "does not allow")
	n.AwaitSites(t, 1)
	n.AwaitFile(t, "40-site-shop.conf", a, b)
	f.AwaitAnswer(t, ca, "shop.test", f.Nodes, "backend A.")
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0) // another release has them too
	n.AwaitFile(t, "40-site-shop.conf", a, b)

	n.Agent.Stop(t)
	allow(wideRules)
	n.StartAgent(t)
	f.AwaitAnswer(t, ca, "shop.test", f.Nodes, "backend A.", "backend B.")
	n.AwaitNoProblem(t)
}
