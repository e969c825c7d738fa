package e2e

import (
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// TestSitesThatClashOnANode: what the operator's host cannot see, because its
// sockets are others, the node does: the site that was set first is served.
func TestSitesThatClashOnANode(t *testing.T) {
	t.Parallel()
	f, ca := newSiteFleet(t, onShared(t, 1, listed)), newCA(t)
	n := f.Nodes[0]
	settings := maps.Clone(n.Settings)
	settings["certificates.listen"] = []string{"127.0.0.1:1 ssl"}
	f.operator = filepath.Join(t.TempDir(), "operator.hcl")
	writeConfig(t, f.operator, settings)

	f.Import(t, ca.Issue(t, 30, "shop.test", "blog.test"))
	a, b := backendThat(t, "A"), backendThat(t, "B")
	socket, _, _ := strings.Cut(fmt.Sprint(n.Settings["nginx.default_servers"]), " ")
	socket = strings.TrimPrefix(socket, "[")
	f.SetSites(t, siteTo("first", "shop.test", a, ""))
	f.SetSites(t, siteTo("second", "shop.test", b, fmt.Sprintf("http = \"off\"\nlisten = [%q]", socket))+siteTo("third", "blog.test", b, ""), "--now") // a wave would be halted
	f.AwaitAnswer(t, ca, "blog.test", f.Nodes, "backend B.")
	f.AwaitAnswer(t, ca, "shop.test", f.Nodes, "backend A.")
	WantProblem(t, n.AwaitProblem(t, "site-clash"), fleet.Alarm, "second", "first", "shop.test")

	f.CLI(t, "site", "remove", "first", "--yes").Want(t, 0)
	f.AwaitOnly(t, ca, "shop.test", "backend B.")
	n.AwaitNoProblem(t)
}
