package renderer

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/site"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/templates"
)

// sitesRig is a rig with a folder of snippets and a live certificate for a.test
// and b.test.
func sitesRig(t *testing.T) (*rig, func(hcl string) Release) {
	t.Helper()
	g := newRig(t, testkit.NginxOptions{})
	dir := filepath.Join(g.nginx.Dir, "snippets")
	cert, key := testkit.SelfSigned(t, "a.test", "b.test")
	for _, name := range []string{"a.test", "b.test"} {
		write(t, filepath.Join(g.cfg.liveDir(), name, fullchainFile), string(cert))
		write(t, filepath.Join(g.cfg.liveDir(), name, privkeyFile), string(key))
	}
	address := func() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(testkit.FreePort(t, "127.0.0.1"))) }
	tls, plain := address()+" ssl", address()
	return g, func(hcl string) Release {
		rel := ringRelease(newRing(t, 1))
		rel.Sites = Sites{Epoch: 1, List: sitesOf(t, hcl), Listen: []string{tls}, HTTPListen: []string{plain}, SnippetsDir: dir}
		return rel
	}
}

func hclSite(id, name, more string) string {
	return fmt.Sprintf("site %q {\nserver_names = [%q]\nbackends {\naddresses = [\"127.0.0.1:9\"]\n}\n%s\n}\n", id, name, more)
}

// TestApplyLeavesOutSitesThatNginxRefuses: each bad site goes, and the release
// with the others is proved, mended as it was and comes again the same.
func TestApplyLeavesOutSitesThatNginxRefuses(t *testing.T) {
	g, release := sitesRig(t)
	g.nginx.Start(t)
	write(t, filepath.Join(g.nginx.Dir, "snippets", "bad.conf"), "\nno_such_directive on;\n")
	write(t, filepath.Join(g.nginx.Dir, "snippets", "ca.pem"), "no certificate\n")
	if err := os.Mkdir(filepath.Join(g.nginx.Dir, "snippets", "folder.conf"), 0o755); err != nil {
		t.Fatal(err)
	}
	rel := release(hclSite("a", "a.test", "") + hclSite("b", "b.test", `snippets = ["bad.conf"]`) + hclSite("c", "c.test", "") +
		hclSite("d", "b.test", `snippets = ["missing.conf"]`) + hclSite("e", "b.test", "listen = [\"192.0.2.77:443\"]") +
		hclSite("f", "b.test", "listen = [\"127.0.0.1:"+strconv.Itoa(testkit.FreePort(t, "127.0.0.1"))+"\"]\nclient_certificates {\nca = \"ca.pem\"\n}") +
		hclSite("g", "b.test", `snippets = ["folder.conf"]`))
	g.mustProve(t, rel)
	made := g.active(t).Sites
	for id, want := range map[string]string{"b": "bad.conf:2", "c": "no certificate", "d": "missing.conf", "e": "192.0.2.77:443", "f": "ca.pem", "g": "is not a file"} {
		if !strings.Contains(made.Left[id], want) {
			t.Errorf("site %s is left out for %q, want %s named", id, made.Left[id], want)
		}
		if got := made.Awaits(id); got != (id == "c") {
			t.Errorf("Awaits(%s) = %t, left out for %q", id, got, made.Left[id])
		}
	}
	if made.Served != 1 || made.Left["a"] != "" || len(made.Left) != 6 {
		t.Errorf("sites = %+v, want a served alone", made)
	}
	input, err := g.SitesInput(rel, "1.22.1")
	if err != nil || input.IsZero() {
		t.Errorf("SitesInput() = %s, %v", input, err)
	}

	file := filepath.Join(g.cfg.currentDir(), templates.SiteFile("a"))
	text := read(t, file)
	if edits, err := g.CheckRelease(); err != nil || len(edits) != 0 {
		t.Fatalf("CheckRelease() = %v, %v, want nothing", edits, err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if edits, err := g.CheckRelease(); err != nil || len(edits) != 1 {
		t.Fatalf("CheckRelease() = %v, %v, want the file that is gone", edits, err)
	}
	if err := g.MendRelease(g.active(t)); err != nil {
		t.Fatalf("MendRelease() = %v", err)
	}
	if got := read(t, file); got != text {
		t.Errorf("mended file = %s, want %s", got, text)
	}

	kept := ringRelease(newRing(t, 2))
	kept.Sites.Keep = true
	g.mustProve(t, kept)
	if got := g.active(t); got.Epoch != 2 || got.Sites.Served != 1 || got.Sites.Input != made.Input {
		t.Errorf("active = %+v, want ring 2 with the sites before", got)
	}
}

// TestSitesAndKeysGoBackTogether has nginx not take a release, without a word: the ring
// and the sites of before are in force, and nothing of it is left.
func TestSitesAndKeysGoBackTogether(t *testing.T) {
	g, release := sitesRig(t)
	g.nginx.Start(t)
	first := release(hclSite("a", "a.test", ""))
	g.mustProve(t, first)
	file := filepath.Join(g.cfg.currentDir(), templates.SiteFile("a"))
	want := read(t, file)
	taken := listenOn(t)
	write(t, g.nginx.ConfigFile, strings.Replace(read(t, g.nginx.ConfigFile), "access_log off;", "access_log off; server { listen "+taken+"; }", 1))
	g.cfg.VerifyTimeout = 3 * time.Second
	next := release(hclSite("a", "b.test", "") + hclSite("b", "a.test", ""))
	next.Ring, next.Sealed, next.Sites.Epoch = newRing(t, 2), []byte("sealed 2"), 2
	if o := g.apply(t, next); o.Reload.Result != fleet.ReloadRolledBack {
		t.Fatalf("Apply() = %+v, want it rolled back", o.Reload)
	}
	if got := read(t, file); got != want {
		t.Errorf("site a = %s, want it as before: %s", got, want)
	}
	if _, err := os.Lstat(filepath.Join(g.cfg.currentDir(), templates.SiteFile("b"))); !os.IsNotExist(err) {
		t.Errorf("site b = %v, want none", err)
	}
	if a := g.active(t); a.Release != 1 || a.Epoch != 1 || a.Sites.Epoch != 1 || !a.Good {
		t.Errorf("Active() = %+v, want release 1 with ring 1 and sites 1", a)
	}
	g.sealsWith(t, first.Ring.Current.Name())
	g.wantKeyFiles(t, first.Ring)
}

// TestManyBackendsOfASite: as many as are taken of a service make one release.
func TestManyBackendsOfASite(t *testing.T) {
	g, release := sitesRig(t)
	g.nginx.Start(t)
	rel := release(strings.Replace(hclSite("a", "a.test", ""), `addresses = ["127.0.0.1:9"]`, `service = "web"`, 1))
	var all []site.Backend
	for i := range 5000 {
		all = append(all, site.Backend{Address: fmt.Sprintf("10.0.%d.%d:80", i/250, i%250), Weight: 1})
	}
	rel.Sites.Backends = map[string][]site.Backend{"a": all}
	g.mustProve(t, rel)
	text := read(t, filepath.Join(g.cfg.currentDir(), templates.SiteFile("a")))
	if got := strings.Count(text, "\n    server 10.0."); got != len(all) || len(text) > 256<<10 {
		t.Errorf("site has %d backends in %d bytes, want %d in at most 256 KiB", got, len(text), len(all))
	}
}
