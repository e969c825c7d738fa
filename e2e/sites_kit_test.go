package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// newSiteFleet is newCertFleet with folders for the operator's part of sites,
// and a socket without TLS.
func newSiteFleet(t *testing.T, o FleetOptions) *Fleet {
	t.Helper()
	o.Idle = true
	f := NewFleet(t, o)
	for _, n := range f.Nodes {
		n.Settings["certificates.listen"] = n.Settings["nginx.default_servers"]
		n.Settings["acme.http_listen"] = []string{net.JoinHostPort(n.Nginx.Address, strconv.Itoa(testkit.FreePort(t, n.Nginx.Address)))}
		for _, dir := range []string{"snippets", "templates"} {
			path := filepath.Join(n.Nginx.Dir, dir)
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
			n.Settings["sites."+dir+"_dir"] = path
		}
		n.WriteConfig(t)
		n.Nginx.Start(t)
		n.StartAgent(t)
	}
	f.AwaitProved(t, 1)
	return f
}

// SetSites sets sites that are written in HCL.
func (f *Fleet) SetSites(t *testing.T, text string, args ...string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sites.hcl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f.CLI(t, append([]string{"site", "set", path}, args...)...).Want(t, 0)
}

// siteTo is a site with one name and one fixed backend.
func siteTo(id, name, address, more string) string {
	return fmt.Sprintf("site %q {\nserver_names = [%q]\nbackends {\naddresses = [%q]\n}\n%s\n}\n", id, name, address, more)
}

// siteOn is a site whose backends are a service.
func siteOn(id, name, service string) string {
	return fmt.Sprintf("site %q {\nserver_names = [%q]\nbackends {\nservice = %q\n}\n}\n", id, name, service)
}

// backendThat answers with a word.
func backendThat(t *testing.T, word string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if _, err := io.WriteString(w, "backend "+word+"."); err != nil {
			t.Log(err)
		}
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// AwaitAnswer waits until each of the nodes answers for the name with all of the words.
func (f *Fleet) AwaitAnswer(t *testing.T, ca *CA, name string, nodes []*Node, words ...string) {
	t.Helper()
	for _, n := range nodes {
		for _, word := range words {
			testkit.Eventually(t, settle, fmt.Sprintf("%q of %s on %s", word, name, n.Name), func() error {
				w, err := n.Greet(t, ca, Hello{SNI: name})
				if err == nil && !strings.Contains(w.Answer, word) {
					err = fmt.Errorf("answer is %.300q", w.Answer)
				}
				return err
			})
		}
	}
}

// AwaitOnly waits until each node gives nothing but this answer: workers from
// before a reload still answer for a moment.
func (f *Fleet) AwaitOnly(t *testing.T, ca *CA, name, word string) {
	t.Helper()
	for _, n := range f.Nodes {
		testkit.Eventually(t, settle, fmt.Sprintf("nothing but %q of %s on %s", word, name, n.Name), func() error {
			for range 30 {
				w, err := n.Greet(t, ca, Hello{SNI: name})
				if err != nil {
					return err
				}
				if !strings.Contains(w.Answer, word) {
					return fmt.Errorf("answer is %.300q", w.Answer)
				}
			}
			return nil
		})
	}
}

// Join registers an instance of a service; Leave takes it out, if it is there.
func (f *Fleet) Join(t *testing.T, service, address string) {
	t.Helper()
	a := netip.MustParseAddrPort(address)
	err := f.Consul.Client(t).Agent().ServiceRegister(&api.AgentServiceRegistration{
		ID: service + "-" + strconv.Itoa(int(a.Port())), Name: service, Address: a.Addr().String(), Port: int(a.Port()),
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (f *Fleet) Leave(t *testing.T, service, address string) {
	t.Helper()
	a := netip.MustParseAddrPort(address)
	err := f.Consul.Client(t).Agent().ServiceDeregister(service + "-" + strconv.Itoa(int(a.Port())))
	if err != nil && !strings.Contains(err.Error(), "Unknown service ID") {
		t.Fatal(err)
	}
}

// AwaitSites waits until the node serves the sites of this epoch.
func (n *Node) AwaitSites(t *testing.T, epoch uint64) {
	t.Helper()
	n.AwaitReport(t, fmt.Sprintf("sites at epoch %d", epoch), func(r fleet.Report) error {
		if r.Sites != epoch {
			return fmt.Errorf("epoch %d, problems %+v", r.Sites, r.Problems)
		}
		return nil
	})
}

// put writes a file of the operator on each of the nodes.
func (f *Fleet) put(t *testing.T, dir, name, text string) {
	t.Helper()
	for _, n := range f.Nodes {
		if err := os.WriteFile(filepath.Join(n.Nginx.Dir, dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
