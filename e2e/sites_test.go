package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// TestSitesAreServedEverywhere takes sites through their life on three nodes:
// set, backends that join and leave under load, none left, a clash, removal.
func TestSitesAreServedEverywhere(t *testing.T) {
	t.Parallel()
	f, ca := newSiteFleet(t, onShared(t, 3, listed)), newCA(t)
	f.Import(t, ca.Issue(t, 30, "shop.test", "blog.test", "strict.test"))
	a, b := backendThat(t, "A"), backendThat(t, "B")
	service := f.Name + "-web"
	strict := strings.Replace(siteOn("strict", "strict.test", service), "backends {", "backends {\nkeep_last = false", 1)
	f.put(t, "snippets", "own.conf", "# the operator's\n")
	before := f.operators(t)
	f.SetSites(t, siteTo("shop", "shop.test", a, "websocket = true")+siteOn("blog", "blog.test", service)+strict)
	f.AwaitAnswer(t, ca, "shop.test", f.Nodes, "backend A.")
	f.AwaitAnswer(t, ca, "blog.test", f.Nodes, "503 Service")
	for _, n := range f.Nodes {
		n.AwaitSites(t, 1)
		WantProblem(t, n.AwaitProblem(t, "site-without-backends"), fleet.Alarm, "blog", service)
	}

	f.Join(t, service, a)
	f.AwaitOnly(t, ca, "blog.test", "backend A.")
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for _, n := range f.Nodes {
		load.Go(func() {
			for ctx.Err() == nil {
				if w, err := n.Greet(t, ca, Hello{SNI: "blog.test"}); err != nil || !strings.Contains(w.Answer, "backend ") { //nolint:contextcheck // it has that of the test
					t.Errorf("request under load on %s = %.200q, %v", n.Name, w.Answer, err)
					return
				}
			}
		})
	}
	f.Join(t, service, b)
	f.AwaitAnswer(t, ca, "blog.test", f.Nodes, "backend B.", "backend A.")
	f.Leave(t, service, a)
	for _, n := range f.Nodes {
		n.AwaitFile(t, "40-site-blog.conf", b, a)
	}
	stop()
	load.Wait()

	f.Leave(t, service, b)
	for _, n := range f.Nodes {
		WantProblem(t, n.AwaitProblem(t, "site-backends-kept"), fleet.Warning, "blog", service)
	}
	f.AwaitAnswer(t, ca, "blog.test", f.Nodes, "backend B.")
	f.AwaitOnly(t, ca, "strict.test", "503 Service")
	f.Join(t, service, b)
	f.AwaitAnswer(t, ca, "strict.test", f.Nodes, "backend B.")
	for _, n := range f.Nodes {
		n.AwaitNoProblem(t)
	}

	if r := f.CLI(t, "site", "remove", "shop", "--yes"); r.Code != 0 {
		t.Fatal(r)
	}
	for _, n := range f.Nodes {
		n.AwaitSites(t, 2)
		if _, err := os.Stat(filepath.Join(n.StateDir, "nginx", "current", "40-site-shop.conf")); !os.IsNotExist(err) {
			t.Errorf("file of a removed site on %s: %v, want none", n.Name, err)
		}
	}
	f.AwaitAnswer(t, ca, "blog.test", f.Nodes, "backend B.")
	if path := differ(before, f.operators(t)); path != "" {
		t.Errorf("%s is not as the operator left it", path)
	}
}

// operators are the files of nginx that belong to the operator.
func (f *Fleet) operators(t *testing.T) map[string]string {
	t.Helper()
	var paths []string
	for _, n := range f.Nodes {
		for _, pattern := range []string{"*.conf", "*.pem", "snippets", "templates"} {
			found, err := filepath.Glob(filepath.Join(n.Nginx.Dir, pattern))
			if err != nil || len(found) == 0 {
				t.Fatalf("find %s in %s: %v, %v", pattern, n.Nginx.Dir, found, err)
			}
			paths = append(paths, found...)
		}
	}
	return tree(t, paths...)
}

// AwaitFile waits until a file of the active release has one text and not another.
func (n *Node) AwaitFile(t *testing.T, name, has, hasNot string) {
	t.Helper()
	testkit.Eventually(t, settle, n.Name+": "+name+" with "+has, func() error {
		text, err := os.ReadFile(filepath.Join(n.StateDir, "nginx", "current", name))
		if err == nil && (!strings.Contains(string(text), has) || strings.Contains(string(text), hasNot)) {
			err = fmt.Errorf("it is %s", text)
		}
		return err
	})
}

// TestBadSiteIsLeftOut: what a site or the operator's files have wrong costs that
// site only, and what the template has wrong costs nothing that was served.
func TestBadSiteIsLeftOut(t *testing.T) {
	t.Parallel()
	f, ca := newSiteFleet(t, onShared(t, 1, listed)), newCA(t)
	n := f.Nodes[0]
	f.Import(t, ca.Issue(t, 30, "shop.test", "blog.test", "late.test"))
	a, b := backendThat(t, "A"), backendThat(t, "B")
	f.SetSites(t, siteTo("shop", "shop.test", a, `snippets = ["extra.conf"]`)+siteTo("blog", "blog.test", b, ""), "--now") // a wave would be halted
	f.AwaitAnswer(t, ca, "blog.test", f.Nodes, "backend B.")
	WantProblem(t, n.AwaitProblem(t, "site-refused"), fleet.Alarm, "shop", "extra.conf")

	f.put(t, "snippets", "extra.conf", "add_header X-Extra yes;\n")
	f.AwaitAnswer(t, ca, "shop.test", f.Nodes, "backend A.", "X-Extra: yes")
	n.AwaitNoProblem(t)

	f.put(t, "snippets", "extra.conf", "\nno_such_directive on;\n")
	WantProblem(t, n.AwaitProblem(t, "site-refused"), fleet.Alarm, "shop", "no_such_directive", "extra.conf:2")
	f.AwaitAnswer(t, ca, "blog.test", f.Nodes, "backend B.")
	if err := n.Nginx.Test(t); err != nil {
		t.Errorf("nginx -t = %v with a broken snippet, want a configuration to start from", err)
	}
	f.put(t, "snippets", "extra.conf", "add_header X-Extra again;\n")
	f.AwaitAnswer(t, ca, "shop.test", f.Nodes, "X-Extra: again")
	n.AwaitNoProblem(t)

	own := filepath.Join(n.Nginx.Dir, "templates", "site.conf")
	embedded, err := os.ReadFile(filepath.Join("..", "templates", "nginx", "site", "site.conf"))
	if err != nil {
		t.Fatal(err)
	}
	with := func(directive string) string {
		return strings.Replace(string(embedded), "\nserver {\n", "\nserver {\n    "+directive+"\n", 1)
	}
	for _, tt := range []struct {
		text string
		want []string
	}{
		{"\n{{.NoSuchField}}", []string{own + ":2:2"}},
		{"\nserver {", []string{own, ".conf:2"}},
		{with("no_such_directive on;"), []string{own, `"no_such_directive"`, ".conf:"}},
		{with("add_header X-Own $no_such_variable;"), []string{own, `"no_such_variable"`}},
	} {
		f.put(t, "templates", "site.conf", tt.text)
		WantProblem(t, n.AwaitProblem(t, "site-template"), fleet.Alarm, tt.want...)
		f.AwaitAnswer(t, ca, "shop.test", f.Nodes, "X-Extra: again")
		f.CLI(t, "rotate-ticket").Want(t, 0)
		if err := os.Remove(own); err != nil {
			t.Fatal(err)
		}
		n.AwaitNoProblem(t)
		f.AwaitProved(t, 1) // or the next rotation is held
	}

	n.Agent.Stop(t)
	f.SetSites(t, siteTo("late", "late.test", b, "")+siteTo("blog", "blog.test", a, ""))
	_, err = f.Consul.Client(t).KV().Put(&api.KVPair{Key: "tlsfleet/" + f.Name + "/sites/late", Value: []byte("not a record; } http { ")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	n.StartAgent(t)
	f.AwaitAnswer(t, ca, "blog.test", f.Nodes, "backend A.")
	WantProblem(t, n.AwaitProblem(t, "site-unreadable"), fleet.Alarm, "late")
}

// TestSitesWithoutConsul: a node that starts without Consul has its sites, their
// backends, and what the operator changes meanwhile.
func TestSitesWithoutConsul(t *testing.T) {
	t.Parallel()
	f, ca := newSiteFleet(t, onShared(t, 1, with(listed, Settings{"reload.min_interval": "2s"}))), newCA(t)
	n := f.Nodes[0]
	f.Import(t, ca.Issue(t, 30, "shop.test"))
	a, b, c := backendThat(t, "A"), backendThat(t, "B"), backendThat(t, "C")
	service := f.Name + "-web"
	f.Join(t, service, a)
	f.put(t, "snippets", "x.conf", "add_header X-Extra one;\n")
	f.SetSites(t, strings.Replace(siteOn("shop", "shop.test", service), "backends {", "snippets = [\"x.conf\"]\nbackends {", 1))
	f.AwaitAnswer(t, ca, "shop.test", f.Nodes, "backend A.")
	n.AwaitSites(t, 1)

	reloads, began := n.Reloads(), time.Now()
	reloaded := func() bool { return n.Reloads() > reloads || time.Since(began) > settle }
	for i := 0; time.Since(began) < 7*time.Second || !reloaded(); i++ {
		if i%2 == 0 {
			f.Join(t, service, b)
		} else {
			f.Leave(t, service, b)
		}
		select {
		case <-time.After(250 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
	most := int(time.Since(began)/(2*time.Second)) + 1
	if got := n.Reloads() - reloads; got == 0 || got > most {
		t.Errorf("%d reloads for a service that flaps for %s, want 1 to %d", got, time.Since(began), most)
	}
	f.Leave(t, service, b)
	n.AwaitFile(t, "40-site-shop.conf", a, b)
	f.Join(t, service, c) // the last change, so that none is on its way
	n.AwaitFile(t, "40-site-shop.conf", c, b)
	current, err := os.Readlink(filepath.Join(n.StateDir, "nginx", "current"))
	if err != nil {
		t.Fatal(err)
	}
	n.AwaitReport(t, "release "+current+" proved", func(r fleet.Report) error {
		if r.Reload.Result != fleet.ReloadOK || fmt.Sprint(r.Release) != current || r.Reload.Release != r.Release {
			return fmt.Errorf("release %d, reload %+v", r.Release, r.Reload)
		}
		return nil
	})

	n.Agent.Stop(t)
	before := n.Reloads()
	n.Settings["consul.address"] = "127.0.0.1:1"
	n.WriteConfig(t)
	n.StartAgent(t)
	n.AwaitSites(t, 1)
	if got := n.Reloads() - before; got != 0 {
		t.Errorf("%d reloads at a start without Consul, want 0", got)
	}
	f.put(t, "snippets", "x.conf", "add_header X-Extra two;\n")
	f.AwaitAnswer(t, ca, "shop.test", f.Nodes, "X-Extra: two")
	f.AwaitAnswer(t, ca, "shop.test", f.Nodes, "backend A.")
}
