package renderer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/templates"
)

const ownTemplate = "/t/site.conf" // it is not read from there

// templateWith is tlsfleet's own template with a directive more in its first server.
func templateWith(t *testing.T, directive string) SiteSource {
	t.Helper()
	text := read(t, filepath.Join("..", "templates", "nginx", "site", templates.SiteTemplateName))
	more := strings.Replace(text, "\nserver {\n", "\nserver {\n    "+directive+"\n", 1)
	if more == text {
		t.Fatalf("no server in %s", text)
	}
	return SiteSource{File: ownTemplate, Text: []byte(more)}
}

// sitesWithSnippets is a rig that serves a, with the snippet a.conf, and b, with b.conf.
func sitesWithSnippets(t *testing.T) (g *rig, release func(own SiteSource) Release, snippet func(name, text string)) {
	t.Helper()
	g, of := sitesRig(t)
	g.nginx.Start(t)
	snippet = func(name, text string) {
		t.Helper()
		write(t, filepath.Join(g.nginx.Dir, "snippets", name), text)
	}
	snippet("a.conf", "add_header X-A yes;\n")
	snippet("b.conf", "add_header X-B yes;\n")
	text := hclSite("a", "a.test", `snippets = ["a.conf"]`) + hclSite("b", "b.test", `snippets = ["b.conf"]`)
	g.mustProve(t, of(text))
	return g, func(own SiteSource) Release {
		rel := of(text)
		rel.Sites.Template = own
		return rel
	}, snippet
}

// wantKept fails unless the sites are those of an earlier release, and it is
// said why in all of the words.
func (g *rig) wantKept(t *testing.T, served int, words ...string) {
	t.Helper()
	made := g.active(t).Sites
	if made.Served != served {
		t.Errorf("sites = %+v, want %d served", made, served)
	}
	for _, w := range words {
		if !strings.Contains(made.Kept, w) {
			t.Errorf("sites are kept for %q, want %q named", made.Kept, w)
		}
	}
}

// TestTemplateKeepsSites: whatever an operator's template has wrong, also if nginx
// is the first to see it, the sites stay, and a new ring is applied all the same.
func TestTemplateKeepsSites(t *testing.T) {
	g, release, _ := sitesWithSnippets(t)
	files := func() string {
		return read(t, filepath.Join(g.cfg.currentDir(), templates.SiteFile("a"))) + read(t, filepath.Join(g.cfg.currentDir(), templates.SiteFile("b")))
	}
	want := files()
	mine := filepath.Join(g.nginx.Dir, "mine.inc")
	write(t, mine, "\nno_such_directive on;\n")
	source := func(text string) SiteSource { return SiteSource{File: ownTemplate, Text: []byte(text)} }
	for name, tt := range map[string]struct {
		own   SiteSource
		words []string
	}{
		"a missing field":      {source("{{.NoSuchField}}"), []string{ownTemplate + ":1:2"}},
		"no end":               {source("{{range .Names}}"), []string{ownTemplate + ":1"}},
		"no end of a loop":     {source(`{{define "x"}}{{template "x"}}{{end}}{{template "x"}}`), []string{ownTemplate + ":1"}},
		"not a configuration":  {source("\nserver {"), []string{ownTemplate, ".conf:2"}},
		"no names":             {source("server { no_such_directive on; }"), []string{ownTemplate, "server names"}},
		"other names":          {source("\nserver { listen 127.0.0.1:1 ssl; server_name evil.test; }"), []string{ownTemplate, "line 2", "evil.test"}},
		"of a later tlsfleet":  {SiteSource{File: ownTemplate, Err: os.ErrPermission}, []string{ownTemplate, "permission denied"}},
		"an unknown directive": {templateWith(t, "no_such_directive on;"), []string{ownTemplate, `"no_such_directive"`, ".conf:"}},
		"an unknown variable":  {templateWith(t, "add_header X-Own $no_such_variable;"), []string{ownTemplate, `"no_such_variable"`}},
		"a file with mistakes": {templateWith(t, "include "+mine+";"), []string{ownTemplate, mine + ":2"}},
		"a file that is none":  {templateWith(t, "include "+mine+".not;"), []string{ownTemplate, mine + ".not", ".conf:"}},
	} {
		t.Run(name, func(t *testing.T) {
			if o := g.apply(t, release(tt.own)); o.Reload.Result != fleet.ReloadOK {
				t.Fatalf("Apply() = %+v, want ok", o)
			}
			g.wantKept(t, 2, tt.words...)
			if got := files(); got != want {
				t.Errorf("sites = %s, want %s", got, want)
			}
		})
	}
}

// TestFileOfTheTemplateBreaks: no site is to blame for what all sites include
// by the operator's template. nginx goes on as it is until the file is mended.
func TestFileOfTheTemplateBreaks(t *testing.T) {
	g, release, _ := sitesWithSnippets(t)
	mine := filepath.Join(g.nginx.Dir, "mine.inc")
	write(t, mine, "gzip on;\n")
	own := templateWith(t, "include "+mine+";")
	g.mustProve(t, release(own))
	for _, text := range []string{"\nno_such_directive on;\n", "\nadd_header X-Own $no_such_variable;\n"} {
		write(t, mine, text)
		for _, src := range []SiteSource{own, templateWith(t, "gzip off; include "+mine+";")} {
			if o := g.apply(t, release(src)); o.Reload.Result != fleet.ReloadRejected || !strings.Contains(o.Reload.Err, "no_such") {
				t.Errorf("Apply() with %q = %+v, want it refused for that", text, o.Reload)
			}
			if made := g.active(t).Sites; made.Served != 2 || len(made.Left) > 0 || made.Kept != "" {
				t.Errorf("sites = %+v, want both served as before", made)
			}
		}
	}
	write(t, mine, "gzip off;\n")
	g.mustProve(t, release(own))

	// Alone, and without files of its own, a site is not to blame either.
	single := release(own)
	single.Sites.List = single.Sites.List[:1]
	single.Sites.List[0].Snippets = nil
	g.mustProve(t, single)
	write(t, mine, "add_header X-Own $no_such_variable;\n")
	if o := g.apply(t, single); o.Reload.Result != fleet.ReloadRejected || len(g.active(t).Sites.Left) > 0 {
		t.Errorf("Apply() with one site = %+v and %+v, want it refused and the site served", o.Reload, g.active(t).Sites)
	}
}

// TestTemplateAndSnippetAreToldApart: a snippet that is wrong while another
// template comes costs its site only, and the template what it does itself.
func TestTemplateAndSnippetAreToldApart(t *testing.T) {
	const unknown = "add_header X-Snippet $not_there;\n"
	for _, bad := range []string{"a", "b"} {
		t.Run("bad template, snippet of "+bad, func(t *testing.T) {
			g, release, snippet := sitesWithSnippets(t)
			snippet(bad+".conf", unknown)
			if o := g.apply(t, release(templateWith(t, "add_header X-Own $no_such_variable;"))); o.Reload.Result != fleet.ReloadOK {
				t.Fatalf("Apply() = %+v, want ok", o)
			}
			g.wantKept(t, 1, ownTemplate)
			if made := g.active(t).Sites; !strings.Contains(made.Left[bad], `"not_there"`) || len(made.Left) != 1 {
				t.Errorf("sites = %+v, want %s left out alone", made, bad)
			}
		})
	}
	t.Run("good template, snippet bad before", func(t *testing.T) {
		g, release, snippet := sitesWithSnippets(t)
		snippet("b.conf", unknown)
		g.mustProve(t, release(SiteSource{}))
		g.mustProve(t, release(templateWith(t, "gzip on;")))
		made := g.active(t).Sites
		if made.Kept != "" || made.Served != 1 || !strings.Contains(made.Left["b"], `"not_there"`) {
			t.Errorf("sites = %+v, want a by the new template and b left out", made)
		}
		if text := read(t, filepath.Join(g.cfg.currentDir(), templates.SiteFile("a"))); !strings.Contains(text, "gzip on;") {
			t.Errorf("site a = %s, want it by the new template", text)
		}
	})
	t.Run("good template, snippet bad at once", func(t *testing.T) {
		g, release, snippet := sitesWithSnippets(t)
		snippet("b.conf", unknown)
		g.mustProve(t, release(templateWith(t, "gzip on;")))
		if made := g.active(t).Sites; made.Kept != "" || made.Served != 1 || !strings.Contains(made.Left["b"], `"not_there"`) {
			t.Errorf("sites = %+v, want a by the new template and b left out", made)
		}
	})
}
