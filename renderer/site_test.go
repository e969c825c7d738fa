package renderer

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tlsfleet/tlsfleet/agent/site"
	"github.com/tlsfleet/tlsfleet/templates"
)

const someThumbprint = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// siteFrame is a node that has a certificate for every name.
func siteFrame(tb testing.TB, own string) SiteFrame {
	tb.Helper()
	t, err := templates.EmbeddedSite()
	if own != "" {
		t, err = templates.ParseSite("own/site.conf", []byte(own))
	}
	if err != nil {
		tb.Fatal(err)
	}
	return SiteFrame{
		Version: "1.22.1", LiveDir: "/var/lib/tlsfleet/live", Listen: []string{"443 ssl"}, HTTPListen: []string{"80"}, SnippetsDir: "/etc/tlsfleet/snippets",
		Challenges: &templates.Challenges{Thumbprint: someThumbprint}, Template: t, Has: func(string) bool { return true },
	}
}

// sitesOf reads sites as an operator writes them.
func sitesOf(tb testing.TB, text string) []site.Site {
	tb.Helper()
	sites, err := site.Parse([]byte(text), "f", nil)
	if err != nil {
		tb.Fatal(err)
	}
	return sites
}

const blog = `
site "blog" {
  server_names = ["blog.test", "*.w.test"]
  backends { service = "web" }
}
`

var twoBackends = []site.Backend{{Address: "192.0.2.1:80", Weight: 2}, {Address: "192.0.2.2:80", Weight: 1}}

func TestRenderSite(t *testing.T) {
	var has []string
	f := siteFrame(t, "")
	f.Has = func(name string) bool { has = append(has, name); return strings.HasPrefix(name, "*.") }
	s := sitesOf(t, strings.Replace(blog, `"blog.test"`, `"b.w.test"`, 1))[0]
	got, err := RenderSite(f, s, twoBackends)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"server 192.0.2.1:80 weight=2;", "live/+.w.test/fullchain.pem", "listen 443 ssl http2;", "return 301 https://$host$request_uri", someThumbprint} {
		if !strings.Contains(string(got.Text), want) {
			t.Errorf("RenderSite() has no %q:\n%s", want, got.Text)
		}
	}
	if strings.Count(string(got.Text), "ssl_certificate ") != 1 || has[0] != "b.w.test" {
		t.Errorf("RenderSite() asked for %v and made\n%s\nwant one server for both names", has, got.Text)
	}
	f.Has = func(string) bool { return false }
	if _, err := RenderSite(f, s, nil); !errors.Is(err, ErrNoCertificate) {
		t.Errorf("RenderSite() = %v, want %v", err, ErrNoCertificate)
	}
	f.Variable, f.Version = true, "1.27.4"
	if got, err = RenderSite(f, s, nil); err != nil || !strings.Contains(string(got.Text), "return 503;") || strings.Contains(string(got.Text), "upstream") {
		t.Errorf("RenderSite() without backends = %s, %v, want 503", got.Text, err)
	}
	if _, err = RenderSite(f, s, []site.Backend{{Address: "web.test:80", Weight: 1}}); err == nil {
		t.Error("RenderSite() with a host name as backend = nil, want an error")
	}
	if err := site.Validate(s); err != nil {
		t.Error(err)
	}
	s.ServerNames = []string{"a.test;"}
	if _, err = RenderSite(f, s, nil); !errors.Is(err, site.ErrSite) {
		t.Errorf("RenderSite() of an unusable site = %v, want %v", err, site.ErrSite)
	}
}

func TestRedirectsToThePortOfTheSite(t *testing.T) {
	for listen, want := range map[string]string{`"8443"`: "$host:8443$", `"[::]:8443", "443"`: "$host$", `"192.0.2.1:9443"`: "$host:9443$"} {
		s := sitesOf(t, strings.Replace(blog, "backends", "listen = ["+listen+"]\n backends", 1))[0]
		got, err := RenderSite(siteFrame(t, ""), s, nil)
		if err != nil || !strings.Contains(string(got.Text), want) {
			t.Errorf("RenderSite(listen %s) = %s, %v, want %s", listen, got.Text, err, want)
		}
	}
}

// TestOwnTemplateHasToSayWhatTheSiteSays: an operator's template may say more,
// and nothing else of what decides about other sites and about who is let in.
func TestOwnTemplateHasToSayWhatTheSiteSays(t *testing.T) {
	closed := strings.Replace(blog, "backends", "listen = [\"8443\"]\n client_certificates {\n ca = \"ca.pem\"\n }\n backends", 1)
	const (
		upstream = `{{template "site-upstream" .}}` + "\n"
		listen   = `server { {{range .Listen}}listen{{range .}} {{.}}{{end}};{{end}} {{range .Plain}}listen{{range .}} {{.}}{{end}};{{end}}` + "\n"
		names    = `{{range .Names}}server_name {{.}};{{end}}` + "\n"
		versions = `ssl_protocols{{range .Protocols}} {{.}}{{end}};` + "\n"
		ask      = "ssl_verify_client on;\n"
		by       = "ssl_client_certificate {{.Clients.CA}};\n"
		all      = upstream + listen + names + `{{template "site-tls" .}}`
	)
	tests := map[string]struct{ site, text, want string }{
		"all":                 {blog, all + "gzip on; }", ""},
		"a name less":         {blog, upstream + listen + versions + "server_name {{index .Names 0}}; }", "its server names are"},
		"another name":        {blog, "server { server_name b.test; }" + all + "}", "line 1: its server names are"},
		"no upstream":         {blog, listen + names + versions + "}", "its servers of the upstream are [], want"},
		"another socket":      {blog, "server { listen 8443; }" + all + "}", "line 1: its sockets are"},
		"block left open":     {blog, all, "40-site-blog.conf:"},
		"value as a block":    {blog, all + "if (1) { {{.ID}} } }", "is blog with 0 arguments, want"},
		"by its length":       {blog, all + "{{if gt (len (print .ID)) 5}}gzip on;{{end}} }", "directives, want"},
		"no weights":          {blog, "upstream x { {{range .Backends}}server {{.Address}} max_fails=2;{{end}} }" + listen + names + versions + "}", `want ["192.0.2.1:80 weight=2" "192.0.2.2:80"]`},
		"no TLS":              {blog, upstream + listen + names + "}", `the server has ssl_protocols [], want ["TLSv1.2" "TLSv1.3"]`},
		"a version less":      {blog, upstream + listen + names + "ssl_protocols TLSv1.2; }", `ssl_protocols ["TLSv1.2"], want`},
		"a version more":      {blog, all + "ssl_protocols TLSv1; }", `ssl_protocols ["TLSv1" "TLSv1.2" "TLSv1.3"], want`},
		"TLS of one server":   {blog, all + "}\nserver { {{range .Listen}}listen{{range .}} {{.}}{{end}};{{end}} server_name blog.test; }", "the server has ssl_protocols []"},
		"client certificates": {closed, all + "}", ""},
		"clients of its own":  {blog, all + ask + "ssl_client_certificate /ca.pem; }", ""},
		"clients not asked":   {closed, upstream + listen + names + versions + by + "}", `ssl_verify_client [], want ["on"]`},
		"clients may be none": {closed, upstream + listen + names + versions + by + "ssl_verify_client optional; }", `ssl_verify_client ["optional"], want ["on"]`},
		"no CA":               {closed, upstream + listen + names + versions + ask + "}", "ssl_client_certificate [], want"},
		"another CA":          {closed, upstream + listen + names + versions + ask + "ssl_client_certificate /ca.pem; }", `ssl_client_certificate ["/ca.pem"], want`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := RenderSite(siteFrame(t, tt.text), sitesOf(t, tt.site)[0], twoBackends)
			if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, errSiteText) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("RenderSite() = %s, %v, want %q", got.Text, err, tt.want)
			}
		})
	}
}

// hostile are texts that end something if they are written as they are.
var hostile = []string{
	"a", ";", "{", "}", "\"", "'", "\\", "\n", "\r", "\t", "\x00", " ", "$", "$host", "${x}", "#", "~", "*", ".", "..", "/", "%", "\u2028", "\xff", "é", "return 200;",
	"} server { listen 1; }", "; include /etc/passwd;", "\\\"", "\"; }", "';", "{{.ID}}", "tlsfleetvalue0x", "tlsfleetvalue1x", "lua_block {", "_by_lua_block {", "\\n", "http2", "https://",
}

func hostileText() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(hostile), 0, 5).Draw(t, "parts"), "")
	})
}

// TestNoValueEndsADirective: whatever is in the fields of a site, what is
// rendered parses to the same directives, or is refused before it is written.
func TestNoValueEndsADirective(t *testing.T) {
	f := siteFrame(t, "")
	taken, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		v := hostileSite(t)
		r, err := f.Template.Render(v)
		if err != nil {
			refused++
			return
		}
		if err := new(siteChecker).check(r, v); err != nil {
			t.Fatalf("check() = %v:\n%s", err, r.File.Text)
		}
		taken++
	})
	if taken == 0 || refused == 0 {
		t.Errorf("%d were taken and %d refused, want some of both", taken, refused)
	}
}

// TestHashByAPlaceholderIsRefused: it would be taken for the value that the
// placeholder stands for.
func TestHashByAPlaceholderIsRefused(t *testing.T) {
	t.Parallel()
	s := sitesOf(t, blog)[0]
	s.Backends.Method, s.Backends.HashKey = site.Hash, "header:"+templates.Placeholder(0)
	_, err := RenderSite(siteFrame(t, ""), s, twoBackends)
	if err == nil || errors.Is(err, errSiteText) || !strings.Contains(err.Error(), "balance") {
		t.Errorf("RenderSite() = %v, want the way to balance refused before it is rendered", err)
	}
}

// TestFirstWordOfListenIsAnAddress: also if it reads like a parameter.
func TestFirstWordOfListenIsAnAddress(t *testing.T) {
	f := siteFrame(t, "")
	f.Version, f.Listen = "1.25.1", []string{"http2 ssl http2"}
	got, err := RenderSite(f, sitesOf(t, blog)[0], twoBackends)
	if err != nil || !strings.Contains(string(got.Text), "listen http2 ssl;") {
		t.Errorf("RenderSite() = %s, %v, want the socket http2 without its parameter", got.Text, err)
	}
}

// hostileSite is a good site with hostile texts in some of its fields.
func hostileSite(t *rapid.T) templates.Site {
	v := templates.Site{
		ID: "shop", Version: rapid.SampledFrom([]string{"1.22.1", "1.25.1", "1.27.4"}).Draw(t, "version"), Names: []templates.SiteName{{Name: "a.test", Folder: "a.test"}},
		Listen: []string{"443 ssl"}, Plain: []string{"80"}, HTTP2: true, WebSocket: true, Live: "/live", Variable: rapid.Bool().Draw(t, "variable"),
		Backends: []templates.SiteBackend{{Address: "192.0.2.1:80", Weight: 1}}, Protocols: []string{"TLSv1.3"}, MaxBody: "1m",
		ConnectTimeout: "1s", SendTimeout: "1s", ReadTimeout: "1s", ClientBodyTimeout: "1s", Clients: &templates.SiteClients{CA: "/ca", Depth: 1}, Snippets: []string{"/s"},
		Ciphers: "x", Curves: "x", HSTS: "x", Redirect: rapid.Bool().Draw(t, "redirect"),
	}
	fields := []func(text string){
		func(s string) { v.ID = s }, func(s string) { v.Names[0].Name = s }, func(s string) { v.Names[0].Folder = s }, func(s string) { v.Listen[0] = s },
		func(s string) { v.Plain[0] = s }, func(s string) { v.Live = "/" + s }, func(s string) { v.Backends[0].Address = s }, func(s string) { v.Protocols[0] = s },
		func(s string) { v.MaxBody = s }, func(s string) { v.ConnectTimeout = s }, func(s string) { v.SendTimeout = s }, func(s string) { v.ReadTimeout = s },
		func(s string) { v.ClientBodyTimeout = s }, func(s string) { v.Clients.CA = "/" + s }, func(s string) { v.Snippets[0] = "/" + s },
		func(s string) { v.Ciphers = s }, func(s string) { v.Curves = s }, func(s string) { v.HSTS = s }, func(s string) { v.Balance = s },
		func(s string) { v.Challenges = &templates.Challenges{Thumbprint: s} }, func(s string) { v.Challenges = &templates.Challenges{Proxy: s} }, func(s string) { v.Version = s },
	}
	for _, set := range rapid.SliceOfN(rapid.SampledFrom(fields), 1, 2).Draw(t, "fields") {
		set(hostileText().Draw(t, "text"))
	}
	return v
}

// TestNoFieldOfASiteIsHostile: what an operator can store is as harmless: a site
// with a hostile text in a field is refused before it is rendered.
func TestNoFieldOfASiteIsHostile(t *testing.T) {
	f := siteFrame(t, "")
	rapid.Check(t, func(t *rapid.T) {
		s := site.New("shop")
		s.ServerNames, s.Backends.Service, s.Listen = []string{"a.test"}, "web", []string{"8443"}
		s.Clients, s.TLS = &site.Clients{CA: "ca.pem", Mode: site.ClientRequired, Depth: 1}, site.TLS{Policy: site.Custom, Protocols: []string{site.TLS13}}
		text := hostileText().Draw(t, "text")
		backends := []site.Backend{{Address: "192.0.2.1:1", Weight: 1}}
		fields := []func(){
			func() { s.ID = text }, func() { s.ServerNames = []string{text} }, func() { s.Listen = []string{text} }, func() { s.HTTPListen = []string{text} },
			func() { s.HTTP = site.HTTPMode(text) }, func() { s.Snippets = []string{text} }, func() { s.Backends.Service = text }, func() { s.Backends.Tag = text },
			func() { s.Backends.Method = site.Method(text) }, func() { s.Backends.Method, s.Backends.HashKey = site.Hash, "header:"+text },
			func() { s.TLS.Ciphers = text }, func() { s.TLS.Curves = text }, func() { s.TLS.Protocols = []string{text} }, func() { s.TLS.Policy = site.Policy(text) },
			func() { s.Clients.CA = text }, func() { s.Clients.Mode = site.ClientMode(text) }, func() { backends[0].Address = text },
		}
		rapid.SampledFrom(fields).Draw(t, "field")()
		got, err := RenderSite(f, s, backends)
		if errors.Is(err, errSiteText) {
			t.Fatalf("RenderSite() = %v: it was caught only after it was written", err)
		}
		if bad := strings.ContainsAny(text, ";{}\"'\\\n\r\t\x00 $#"); err == nil && bad && strings.Contains(string(got.Text), text) && text != "" {
			t.Fatalf("RenderSite() took %q:\n%s", text, got.Text)
		}
	})
}

// TestABadSiteIsLeftOut: it is named, and all others are rendered.
func TestABadSiteIsLeftOut(t *testing.T) {
	sites := manySites(t, 20)
	sites[3].Snippets = []string{"../x"}
	f := siteFrame(t, "")
	f.Has = func(name string) bool { return name != "s7.test" && name != "*.test" }
	files, bad := RenderSites(f, sites, func(string) []site.Backend { return twoBackends })
	if len(files) != 18 || len(bad) != 2 || !errors.Is(bad["s0003"], site.ErrSite) || !errors.Is(bad["s0007"], ErrNoCertificate) {
		t.Errorf("RenderSites() = %d files, %v, want all but s0003 and s0007", len(files), bad)
	}
	if files[3].Name != "40-site-s0004.conf" || files[17].Name != "40-site-s0019.conf" {
		t.Errorf("RenderSites() has %s and %s, want the order of the sites", files[3].Name, files[17].Name)
	}
}

// manySites are sites as a hoster has them.
func manySites(tb testing.TB, n int) []site.Site {
	tb.Helper()
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "site \"s%04d\" {\n server_names = [\"s%d.test\", \"www.s%d.test\"]\n backends {\n service = \"web%d\"\n }\n hsts {\n max_age = \"8760h\"\n }\n}\n", i, i, i, i)
	}
	return sitesOf(tb, text.String())
}

// BenchmarkRenderSites is 1,000 sites with their own checks: clashes, and each
// text read back and compared.
func BenchmarkRenderSites(b *testing.B) {
	f := siteFrame(b, "")
	sites := manySites(b, 1000)
	for b.Loop() {
		if clashes := site.Clashes(sites, site.DefaultSockets()); len(clashes) > 0 {
			b.Fatal(clashes)
		}
		if files, bad := RenderSites(f, sites, func(string) []site.Backend { return twoBackends }); len(files) != len(sites) {
			b.Fatal(bad)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/1000sites")
}
