package e2e

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// issueTime is how long a certificate may take, a change of leader included. It
// is only reached by a test that fails.
const issueTime = 3 * settle

// acmeFleet is a fleet whose leader obtains certificates from a Pebble. Its nodes
// have addresses of their own, with challenges on one port.
type acmeFleet struct {
	*Fleet
	pebble *testkit.PebbleServer
	ca     *CA // what clients trust
	port   int
	passes bool // nginx passes challenges on to the agents
}

// newACMEFleet makes nodes that serve any name without a reload and waits until
// each answers challenges.
func newACMEFleet(t *testing.T, o FleetOptions) *acmeFleet {
	t.Helper()
	return newACMEFleetOn(t, o, testkit.PebbleOptions{})
}

// newACMEFleetOn is newACMEFleet with options of the CA's.
func newACMEFleetOn(t *testing.T, o FleetOptions, p testkit.PebbleOptions) *acmeFleet {
	t.Helper()
	a := &acmeFleet{port: testkit.FreePort(t, "127.0.0.1"), passes: o.Settings["acme.http01"] == "agent"}
	p.HTTPPort = a.port
	a.pebble = testkit.Pebble(t, p)
	a.ca = &CA{roots: a.pebble.IssuingRoots(t)}
	address := func(i int) string { return fmt.Sprintf("127.0.0.%d", 21+i) }
	o.Nginx = func(i int, o *testkit.NginxOptions) { o.Address = address(i) }
	node := o.Node
	o.Node = func(i int) Settings {
		s := Settings{"address": address(i), "acme.http_listen": []string{net.JoinHostPort(address(i), strconv.Itoa(a.port))}}
		if node != nil {
			maps.Copy(s, node(i))
		}
		if a.passes {
			s["acme.challenge_address"] = net.JoinHostPort(address(i), strconv.Itoa(testkit.FreePort(t, address(i))))
		}
		return s
	}
	o.Settings = with(Settings{}, o.Settings, Settings{
		"certificates.mode": "variable", "certificates.names": "open",
		`ca "pebble".directory`: a.pebble.Directory, `ca "pebble".root_file`: a.pebble.RootFile,
		"acme.http_port": a.port, "acme.resolver": a.pebble.DNS,
	})
	a.Fleet = newCertFleet(t, o)
	for _, n := range a.Nodes {
		testkit.Eventually(t, settle, "answers to challenges on "+n.Name, func() error { return a.answers(t, n) })
		n.AwaitNoProblem(t)
	}
	a.awaitReports(t)
	return a
}

// awaitReports waits until each node has told of its last release.
func (a *acmeFleet) awaitReports(t *testing.T) {
	t.Helper()
	for _, n := range a.Nodes {
		testkit.Eventually(t, settle, "a report of each release of "+n.Name, func() error {
			if r := n.release(t); r[0] != r[1] {
				return fmt.Errorf("release and reloads are %v", r)
			}
			return nil
		})
	}
}

// answers is nil if the node's nginx answers a challenge as the CA wants it, or
// its agent says that nobody has made this one known.
func (a *acmeFleet) answers(t *testing.T, n *Node) error {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	url := fmt.Sprintf("http://%s/.well-known/acme-challenge/a-Token_1", net.JoinHostPort(n.Nginx.Address, strconv.Itoa(a.port)))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(resp.Body)
	if closeErr := resp.Body.Close(); err == nil {
		err = closeErr
	}
	if a.passes && err == nil {
		if resp.StatusCode != http.StatusNotFound || !strings.Contains(string(text), "page not found") {
			err = fmt.Errorf("%s answers %s with %q, want it from the agent", url, resp.Status, text)
		}
		return err
	}
	thumbprint, ok := strings.CutPrefix(string(text), "a-Token_1.")
	if err == nil && (!ok || !fleet.IsThumbprint(thumbprint)) {
		err = fmt.Errorf("%s answers %s with %q", url, resp.Status, text)
	}
	return err
}

// leadTo has a name lead to a node in DNS.
func (a *acmeFleet) leadTo(t *testing.T, n *Node, name string) {
	t.Helper()
	a.pebble.SetAddress(t, name, n.Nginx.Address)
}

// Add asks for a certificate for each name.
func (a *acmeFleet) Add(t *testing.T, names ...string) {
	t.Helper()
	a.CLI(t, append([]string{"domain", "add"}, names...)...).Want(t, 0)
}

// AwaitDomain waits until the leader has brought a name so far.
func (a *acmeFleet) AwaitDomain(t *testing.T, name string, state issuance.State) agent.DomainStatus {
	t.Helper()
	var d agent.DomainStatus
	testkit.Eventually(t, issueTime, name+" to be "+string(state), func() error {
		err := a.askJSON(t, &d, "domain", "show", name)
		if err == nil && d.State != state {
			err = fmt.Errorf("it is %+v, failure %+v", d, d.Failure)
		}
		return err
	})
	return d
}

// AwaitIssued waits until the nodes show one certificate of the CA for a name,
// other than an old one, and returns what the first of them gave.
func (a *acmeFleet) AwaitIssued(t *testing.T, name, old string, nodes ...*Node) Welcome {
	t.Helper()
	var first Welcome
	for i, n := range nodes {
		testkit.Eventually(t, issueTime, "the certificate of "+name+" on "+n.Name, func() error {
			w, err := n.Greet(t, a.ca, Hello{SNI: name})
			switch {
			case err != nil:
				return err
			case w.Serial == old:
				return fmt.Errorf("it is still the old one, %s", old)
			case i == 0:
				first = w
			case w.Serial != first.Serial:
				return fmt.Errorf("it is %s, want %s as on %s", w.Serial, first.Serial, nodes[0].Name)
			}
			return nil
		})
	}
	return first
}

// releases is each node's active release and how often its nginx has reloaded.
func (a *acmeFleet) releases(t *testing.T) map[string][2]uint64 {
	t.Helper()
	all := map[string][2]uint64{}
	for _, n := range a.Nodes {
		all[n.Name] = n.release(t)
	}
	return all
}
