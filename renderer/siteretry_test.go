package renderer

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/templates"
)

// TestRefusedSiteIsTriedAgain: what nothing tells of, as a file that a snippet
// includes, is found out by testing alone, less and less often.
func TestRefusedSiteIsTriedAgain(t *testing.T) {
	g, release := sitesRig(t)
	g.nginx.Start(t)
	later := filepath.Join(g.nginx.Dir, "later.conf")
	write(t, filepath.Join(g.nginx.Dir, "snippets", "x.conf"), "include "+later+";\n")
	rel := release(hclSite("a", "a.test", "") + hclSite("b", "b.test", `snippets = ["x.conf"]`) + hclSite("c", "c.test", ""))
	g.mustProve(t, rel)
	active := g.active(t)
	if active.Sites.Served != 1 || !strings.Contains(active.Sites.Left["b"], "later.conf") {
		t.Fatalf("sites = %+v, want b left out for what its snippet includes", active.Sites)
	}
	now := time.Now()
	try := func(after time.Duration, want ...string) {
		t.Helper()
		got, err := g.TrySites(t.Context(), rel, now.Add(after))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("TrySites() after %s = %v, %v, want %v", after, got, err, want)
		}
		if left, err := g.releases(); err != nil || len(left) != 1 || g.active(t).Release != active.Release {
			t.Errorf("releases after %s = %v, %v, want the active one alone", after, left, err)
		}
	}
	try(0)
	try(2 * siteRetry) // still refused, for twice as long
	try(4 * siteRetry)
	write(t, later, "add_header X-Later yes;\n")
	try(7 * siteRetry)
	try(8*siteRetry, "b")
	try(8 * siteRetry)
	g.mustProve(t, rel)
	if made := g.active(t).Sites; made.Served != 2 || made.Left["b"] != "" {
		t.Errorf("sites = %+v, want b served", made)
	}
}

func TestPortThatOthersHoldIsNotTried(t *testing.T) {
	t.Parallel()
	// A child has all open sockets until it executes its program.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	other, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	why := "bind() to " + other.Addr().String() + " failed (98: Address already in use)"
	if !stillTaken(t.Context(), why) {
		t.Errorf("stillTaken(%s) = false, want true", why)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	for _, why := range []string{why, "bind() to 192.0.2.77:443 failed (99: Cannot assign requested address)", "unknown directive"} {
		if stillTaken(t.Context(), why) {
			t.Errorf("stillTaken(%s) = true, want false", why)
		}
	}
}

// speaksAs makes a real nginx say that it is of a version.
func speaksAs(t *testing.T, g *rig, version string) {
	t.Helper()
	script := filepath.Join(g.nginx.Dir, "nginx")
	ask := g.nginx.Binary + ` "$@" 2>&1 | sed 's#nginx/[0-9.]*#nginx/` + version + `#' >&2; exit 0`
	write(t, script, "#!/bin/sh\ncase \" $* \" in *\" -V \"*|*\" -v \"*) "+ask+";; esac\nexec "+g.nginx.Binary+" \"$@\"\n")
	if err := os.Chmod(script, 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	g.cfg.Binary = script
}

// TestAnotherNginxHasItsOwnSyntax: sites are rendered for the version that is
// there, and what another one refused is tried again with it.
func TestAnotherNginxHasItsOwnSyntax(t *testing.T) {
	g, release := sitesRig(t)
	said, err := exec.CommandContext(t.Context(), g.nginx.Binary, "-v").CombinedOutput() //nolint:gosec // the nginx of this machine
	if err != nil {
		t.Fatal(err)
	}
	_, theirs, _ := strings.Cut(strings.TrimSpace(string(said)), "nginx/")
	speaksAs(t, g, "1.22.1")
	g.nginx.Start(t)
	rel := release(hclSite("a", "a.test", ""))
	input := func() fleet.Hash {
		t.Helper()
		version, err := g.NginxVersion(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		h, err := g.SitesInput(rel, version)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	file := filepath.Join(g.cfg.currentDir(), templates.SiteFile("a"))
	g.mustProve(t, rel)
	before := input()
	if got := g.active(t).Sites.Input; got != before {
		t.Fatalf("SitesInput() = %s, the release has %s, want the same", before, got)
	}
	if text := read(t, file); !strings.Contains(text, " ssl http2;") {
		t.Errorf("site = %s, want the syntax of 1.22.1", text)
	}

	speaksAs(t, g, "1.27.4")
	if input() == before {
		t.Error("SitesInput() is the same with another nginx, want another release")
	}
	g.apply(t, rel)
	if made := g.active(t).Sites; templates.AtLeast(theirs, 1, 25, 1) {
		if text := read(t, file); !strings.Contains(text, "http2 on;") {
			t.Errorf("site = %s, want the syntax of 1.27.4", text)
		}
	} else if !strings.Contains(made.Left["a"], "http2") {
		t.Errorf("sites = %+v, want the syntax of 1.27.4 and nginx %s, which knows no \"http2 on\", refuse it", made, theirs)
	}
	speaksAs(t, g, "1.22.1")
	g.mustProve(t, rel)
	if text := read(t, file); !strings.Contains(text, " ssl http2;") {
		t.Errorf("site = %s, want the syntax of 1.22.1 again", text)
	}
	r := &Renderer{refused: map[string]refusedSite{"a": {}}, refusedBy: "1.22.1"}
	for _, tt := range []struct {
		version string
		left    int
	}{{"1.22.1", 1}, {"", 1}, {"1.24.0", 0}} {
		if r.forgetRefused(tt.version); len(r.refused) != tt.left {
			t.Errorf("forgetRefused(%q) leaves %d, want %d", tt.version, len(r.refused), tt.left)
		}
	}
}
