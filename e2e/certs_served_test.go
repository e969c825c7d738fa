package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// listed is nodes that serve the names in their configuration.
var listed = Settings{"certificates.mode": "variable", "certificates.names": "listed"}

// TestImportedCertificateIsServedEverywhere takes one certificate through its
// life: import, renewal under clients with tickets, removal.
func TestImportedCertificateIsServedEverywhere(t *testing.T) {
	t.Parallel()
	f, ca := newCertFleet(t, onShared(t, 3, listed)), newCA(t)
	shop, wild, keep := ca.Issue(t, 30, "shop.test"), ca.Issue(t, 30, "*.wild.test"), ca.Issue(t, 30, "keep.test", "aaa.test")
	var first [][2]uint64
	for _, n := range f.Nodes {
		first = append(first, n.release(t))
	}
	epoch := f.Import(t, shop, wild, keep)
	for name, leaf := range map[string]Leaf{"shop.test": shop, "SHOP.Test": shop, "any.wild.test": wild, "Other.WILD.test": wild, "keep.test": keep, "aaa.test": keep} {
		f.AwaitServed(t, ca, name, leaf, f.Nodes...)
	}
	f.AwaitRefused(t, ca, "wild.test", f.Nodes...)
	f.Await(t, "the inventory in the status of each node", func(s Status) error {
		for _, n := range s.Nodes {
			if n.Report == nil || n.Report.Inventory != epoch || n.Report.Names != 4 || !n.Proved || len(n.Report.Problems) > 0 {
				return fmt.Errorf("%s reports %+v", n.Node, n.Report)
			}
		}
		return nil
	})

	tickets := f.ticketsFor(t, ca, "shop.test", "aaa.test")
	var before [][2]uint64
	for i, n := range f.Nodes {
		n.AwaitReleased(t, first[i])
		before = append(before, n.release(t))
	}
	// aaa.test sorts first, so that it is the default certificate of a plain nginx.
	shop, keep = ca.Issue(t, 60, "shop.test"), ca.Issue(t, 60, "keep.test", "aaa.test")
	epoch = f.Import(t, shop, keep)
	f.AwaitServed(t, ca, "shop.test", shop, f.Nodes...)
	f.AwaitServed(t, ca, "AAA.test", keep, f.Nodes...)
	f.wantResumed(t, ca, "after the renewal", tickets)
	f.Await(t, "the renewal in the status", func(s Status) error {
		for _, n := range s.Nodes {
			if n.Report == nil || n.Report.Inventory != epoch {
				return fmt.Errorf("%s reports %+v", n.Node, n.Report)
			}
		}
		return nil
	})
	for i, n := range f.Nodes {
		if got := n.release(t); got != before[i] {
			t.Errorf("release and reloads of %s = %v after a renewal, want %v as before", n.Name, got, before[i])
		}
	}

	f.CLI(t, "cert", "remove", "shop.test", "--yes").Want(t, 0)
	f.AwaitRefused(t, ca, "shop.test", f.Nodes...)
	f.WantServed(t, ca, "after a removal", "keep.test", keep, f.Nodes...)
	f.WantServed(t, ca, "after a removal", "any.wild.test", wild, f.Nodes...)
	delete(tickets, "shop.test")
	f.wantResumed(t, ca, "after the removal", tickets)
}

// ticketsFor takes tickets of both versions from every node, by name.
func (f *Fleet) ticketsFor(t *testing.T, ca *CA, names ...string) map[string][]Hello {
	t.Helper()
	all := map[string][]Hello{}
	for _, name := range names {
		for _, n := range f.Nodes {
			for _, v := range versions {
				w, err := n.Greet(t, ca, Hello{SNI: name, Version: v})
				if err != nil || w.Ticket == nil {
					t.Fatalf("take ticket for %s on %s: %v", name, n.Name, err)
				}
				all[name] = append(all[name], Hello{SNI: name, Version: v, Offer: w.Ticket})
			}
		}
	}
	return all
}

// wantResumed offers every ticket to every node.
func (f *Fleet) wantResumed(t *testing.T, ca *CA, when string, tickets map[string][]Hello) {
	t.Helper()
	for name, hellos := range tickets {
		for _, h := range hellos {
			for _, n := range f.Nodes {
				if w, err := n.Greet(t, ca, h); err != nil || !w.Resumed {
					t.Errorf("%s: %s with version %x on %s: resumed = %t, %v, want true", when, name, h.Version, n.Name, w.Resumed, err)
				}
			}
		}
	}
}

func TestOpenNamesNeedNoRelease(t *testing.T) {
	t.Parallel()
	f, ca := newCertFleet(t, onShared(t, 1, with(listed, Settings{"certificates.names": "open"}))), newCA(t)
	n := f.Nodes[0]
	before := n.release(t)
	first := ca.Issue(t, 30, "first.test")
	f.AwaitRefused(t, ca, "first.test", n)
	epoch := f.Import(t, first)
	f.AwaitServed(t, ca, "first.test", first, n)
	n.AwaitFollowed(t, epoch, 1)
	if got := n.release(t); got != before {
		t.Errorf("release and reloads = %v with a new name, want %v as before", got, before)
	}
	f.CLI(t, "cert", "remove", "first.test", "--yes").Want(t, 0)
	f.AwaitRefused(t, ca, "first.test", n)
	if got := n.release(t); got != before {
		t.Errorf("release and reloads = %v with a name removed, want %v as before", got, before)
	}
	wild := ca.Issue(t, 30, "*.wild.test")
	f.Import(t, wild)
	f.AwaitServed(t, ca, "a.wild.test", wild, n)
	own := ca.Issue(t, 30, "own.wild.test")
	f.Import(t, own)
	f.AwaitServed(t, ca, "own.wild.test", own, n)
	// A worker of before the wildcard may take a last connection.
	f.AwaitServed(t, ca, "a.wild.test", wild, n)
}

// TestStaticServersAreReloaded has nginx load every certificate at a reload.
func TestStaticServersAreReloaded(t *testing.T) {
	t.Parallel()
	f, ca := newCertFleet(t, onShared(t, 1, Settings{"certificates.mode": "static"})), newCA(t)
	n := f.Nodes[0]
	before := n.release(t)
	a, b := ca.Issue(t, 30, "a-static.test"), ca.Issue(t, 30, "b.test")
	f.Import(t, a, b)
	f.AwaitServed(t, ca, "a-static.test", a, n)
	f.AwaitServed(t, ca, "B.test", b, n)
	n.AwaitReleased(t, before)
	a = ca.Issue(t, 60, "a-static.test")
	f.Import(t, a)
	f.AwaitServed(t, ca, "a-static.test", a, n)
	n.AwaitNoProblem(t)
	f.CLI(t, "cert", "remove", "a-static.test", "--yes").Want(t, 0)
	f.AwaitRefused(t, ca, "a-static.test", n)
	f.WantServed(t, ca, "after a removal", "b.test", b, n)
	testkit.Eventually(t, settle, "the end of the removed files", func() error {
		if got := n.live(t); len(got) != 1 {
			return fmt.Errorf("live has %v", got)
		}
		return nil
	})
	n.AwaitNoProblem(t)
	if err := n.Nginx.Test(t); err != nil {
		t.Error(err)
	}
}

// TestHandWrittenServerIsReloadedForItsNameOnly has one name's files in the
// operator's configuration.
func TestHandWrittenServerIsReloadedForItsNameOnly(t *testing.T) {
	t.Parallel()
	f, ca := NewFleet(t, onShared(t, 1, nil)), newCA(t)
	n := f.Nodes[0]
	own, other := ca.Issue(t, 30, "own.test"), ca.Issue(t, 30, "other.test")
	n.AwaitFollowed(t, f.Import(t, own, other), 2)
	AwaitLog(t, n.Agent, "certificates changed", "added=2", "reload=false")
	live := n.StateDir + "/live/own.test/"
	n.EditNginx(t, "http {", "http {\nmap_hash_bucket_size 512;")
	n.EditNginx(t, "\tserver {", fmt.Sprintf("\tserver {\n\t\tlisten %s ssl;\n\t\tserver_name own.test;\n\t\tssl_certificate %sfullchain.pem;\n\t\tssl_certificate_key %sprivkey.pem;\n\t}\n\tserver {",
		n.Nginx.TLSAddrs[0], live, live))
	n.Nginx.Stop(t)
	n.Nginx.Start(t)
	f.AwaitServed(t, ca, "own.test", own, n)
	n.AwaitNoProblem(t)
	before := n.release(t)

	other = ca.Issue(t, 60, "other.test")
	n.AwaitFollowed(t, f.Import(t, other), 2)
	AwaitLog(t, n.Agent, "certificates changed", "replaced=1", "reload=false")
	if got := n.release(t); got != before {
		t.Errorf("release and reloads = %v after a renewal of other.test, want %v as before", got, before)
	}
	own = ca.Issue(t, 60, "own.test")
	f.Import(t, own)
	f.AwaitServed(t, ca, "own.test", own, n)
	n.AwaitNoProblem(t)
	n.AwaitReleased(t, before)
	f.CLI(t, "cert", "remove", "own.test", "--yes").Want(t, 0)
	p := n.AwaitProblem(t, "certificates-held")
	if !strings.Contains(p.Message, "own.test") || !strings.Contains(p.Message, n.Nginx.ConfigFile) {
		t.Errorf("problem = %+v, want it to name own.test and %s", p, n.Nginx.ConfigFile)
	}
	f.WantServed(t, ca, "removed while nginx needs it", "own.test", own, n)
	n.EditNginx(t, live+"fullchain.pem", n.Nginx.Dir+"/cert.pem")
	n.EditNginx(t, live+"privkey.pem", n.Nginx.Dir+"/key.pem")
	n.AwaitNoProblem(t)
	n.AwaitLive(t, 1)
}

// TestNumberOfNamesChangesTheKindOfServers passes, with one more name, what
// static servers are chosen for by nginx before 1.27.4.
func TestNumberOfNamesChangesTheKindOfServers(t *testing.T) {
	t.Parallel()
	f, ca := newCertFleet(t, onShared(t, 1, with(open, Settings{"certificates.mode": "auto"}))), newCA(t)
	n := f.Nodes[0]
	var leaves []Leaf
	for i := range 200 {
		leaves = append(leaves, ca.Issue(t, 30, fmt.Sprintf("n%d.test", i)))
	}
	f.Import(t, leaves...)
	f.AwaitServed(t, ca, "n199.test", leaves[199], n)
	more := ca.Issue(t, 30, "more.test")
	f.Import(t, more)
	f.AwaitServed(t, ca, "more.test", more, n)
	f.AwaitServed(t, ca, "n0.test", leaves[0], n)
	n.AwaitNoProblem(t)
}
