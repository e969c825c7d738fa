package renderer

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// TestSitesThatNginxDoesNotNameAreFound has snippets with a variable that is not
// known, for which nginx names no file, in two of many sites.
func TestSitesThatNginxDoesNotNameAreFound(t *testing.T) {
	g, release := sitesRig(t)
	g.nginx.Start(t)
	snippet := func(name string) string { return filepath.Join(g.nginx.Dir, "snippets", name) }
	write(t, snippet("good.conf"), "add_header X-Good yes;\n")
	write(t, snippet("bad.conf"), "add_header X-Bad $no_such_variable;\n")
	write(t, snippet("later.conf"), "add_header X-Later yes;\n")
	hcl := ""
	for _, id := range []string{"a", "c", "e", "f"} {
		hcl += hclSite(id, "a.test", `snippets = ["good.conf"]`)
	}
	hcl += hclSite("b", "b.test", `snippets = ["bad.conf"]`) + hclSite("d", "a.test", `snippets = ["later.conf", "bad.conf"]`)
	rel := release(hcl)
	g.mustProve(t, rel)
	made := g.active(t).Sites
	for _, id := range []string{"b", "d"} {
		if !strings.Contains(made.Left[id], `"no_such_variable"`) {
			t.Errorf("site %s is left out for %q, want the variable named", id, made.Left[id])
		}
	}
	if made.Served != 4 || len(made.Left) != 2 {
		t.Errorf("sites = %+v, want b and d left out and the others served", made)
	}
	if left, err := g.releases(); err != nil || len(left) != 1 {
		t.Errorf("releases = %v, %v, want the active one alone", left, err)
	}

	write(t, snippet("bad.conf"), "add_header X-Bad no;\n")
	g.mustProve(t, rel)
	if made := g.active(t).Sites; made.Served != 6 || len(made.Left) > 0 {
		t.Fatalf("sites = %+v, want all served once the snippet is mended", made)
	}
	write(t, snippet("later.conf"), "add_header X-Later $not_there;\n")
	rel.Sites.Epoch++
	g.mustProve(t, rel)
	if made := g.active(t).Sites; made.Served != 5 || !strings.Contains(made.Left["d"], `"not_there"`) {
		t.Errorf("sites = %+v, want d left out for the snippet that has changed", made)
	}
}

// TestNoSiteIsFoundForWhatIsNotAboutSites has the operator's own configuration
// refused, without and with sites.
func TestNoSiteIsFoundForWhatIsNotAboutSites(t *testing.T) {
	g, release := sitesRig(t)
	g.nginx.Start(t)
	write(t, filepath.Join(g.nginx.Dir, "snippets", "good.conf"), "add_header X-Good yes;\n")
	write(t, g.nginx.ConfigFile, strings.Replace(read(t, g.nginx.ConfigFile), "access_log off;", "access_log off; add_header X-Own $no_such_variable;", 1))
	rel := release(hclSite("a", "a.test", `snippets = ["good.conf"]`) + hclSite("b", "b.test", ""))
	if out := g.apply(t, rel); out.Reload.Result != fleet.ReloadRejected {
		t.Fatalf("Apply() = %+v, want %s", out, fleet.ReloadRejected)
	}
	if len(g.refused) > 0 {
		t.Errorf("sites refused are %v, want none", g.refused)
	}
}
