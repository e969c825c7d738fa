package templates

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// aSite is a site with everything, for a version of nginx.
func aSite(version string) Site {
	return Site{
		ID: "shop", Version: version, Names: []SiteName{{"shop.test", "shop.test"}, {"www.shop.test", "shop.test"}, {"*.w.test", "+.w.test"}},
		Listen: []string{"443 ssl http2 backlog=64", "[::]:443 ssl"}, Plain: []string{"80 reuseport"}, Redirect: true, HTTP2: true, WebSocket: true,
		Live: "/var/lib/tlsfleet/live", Balance: "least_conn",
		Backends:  []SiteBackend{{"192.0.2.1:8080", 3, false}, {"[2001:db8::1]:80", 1, false}, {"unix:/run/app.sock", 1, true}},
		Protocols: []string{"TLSv1.2", "TLSv1.3"}, Ciphers: "ECDHE+AESGCM:!aNULL", Curves: "X25519:prime256v1", HSTS: "max-age=31536000; includeSubDomains",
		MaxBody: "10m", ConnectTimeout: "5s", SendTimeout: "60s", ReadTimeout: "60s", ClientBodyTimeout: "60s",
		Snippets: []string{"/etc/tlsfleet/snippets/gzip.conf"}, Challenges: &Challenges{Thumbprint: strings.Repeat("A", 43)},
	}
}

func embedded(tb testing.TB) *SiteTemplate {
	tb.Helper()
	t, err := EmbeddedSite()
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func TestRenderSiteMatchesGoldenFiles(t *testing.T) {
	variable, least, alone := aSite("1.27.4"), aSite("1.27.4"), aSite("1.25.1")
	variable.Variable = true
	least.Variable, least.Backends, least.Balance, least.Ciphers, least.Curves, least.HSTS, least.Snippets, least.WebSocket = true, nil, "", "", "", "", nil, false
	least.Plain, least.HTTP2, least.Challenges = nil, false, nil
	alone.Listen, alone.RedirectPort, alone.Clients = []string{"*:8443 ssl proxy_protocol"}, 8443, &SiteClients{"/etc/tlsfleet/snippets/ca.pem", true, 2}
	alone.Balance, alone.ServerOrder, alone.Challenges = "hash $http_x_user consistent", true, &Challenges{Proxy: "127.0.0.1:9182"}
	serve := aSite("")
	serve.Redirect = false
	tests := map[string]Site{
		"site-1.22.1-static": aSite("1.22.1"), "site-1.25.1-static": aSite("1.25.1"), "site-1.27.4-variable": variable,
		"site-least": least, "site-clients": alone, "site-serve": serve,
	}
	for name, s := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := embedded(t).Render(s)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, got.File.Text)
			if got.File.Name != "40-site-shop.conf" {
				t.Errorf("Render() names the file %s", got.File.Name)
			}
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s =\n%s\nwant\n%s", name, got, want)
	}
}

func TestRenderSitesMatchesGoldenFile(t *testing.T) {
	f, err := RenderSites(Sites{WebSocket: true, Sockets: []SiteSocket{
		{Listen: "*:8443 ssl proxy_protocol", Protocols: []string{"TLSv1.3"}, Curves: "X25519:prime256v1", Clients: &SiteClients{"/etc/ca.pem", false, 1}},
		{Listen: "[::]:9443 ssl", Protocols: []string{"TLSv1.2", "TLSv1.3"}}, {Listen: "*:8080", Plain: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "sites", f.Text)
	for name, s := range map[string]SiteSocket{
		"no listen": {Plain: true}, "variable": {Listen: "$x", Plain: true}, "no versions": {Listen: "1 ssl"},
		"line": {Listen: "1 ssl", Protocols: []string{"TLSv1.3\n"}}, "line in curves": {Listen: "1 ssl", Protocols: []string{"TLSv1.3"}, Curves: "X25519\n"},
		"CA": {Listen: "1 ssl", Protocols: []string{"TLSv1.3"}, Clients: &SiteClients{CA: "/$x"}},
	} {
		if _, err := RenderSites(Sites{Sockets: []SiteSocket{s}}); err == nil {
			t.Errorf("RenderSites(%s) = nil, want an error", name)
		}
	}
}

func TestRenderSiteRefuses(t *testing.T) {
	tests := map[string]func(*Site){
		"no names":             func(s *Site) { s.Names = nil },
		"no listen":            func(s *Site) { s.Listen = nil },
		"blank listen":         func(s *Site) { s.Plain = []string{" "} },
		"expression as name":   func(s *Site) { s.Names[0].Name = "~.*" },
		"any name":             func(s *Site) { s.Names[0].Name = "_" },
		"variable as name":     func(s *Site) { s.Names[0].Name = "$host" },
		"entry is a path":      func(s *Site) { s.Names[0].Folder = "../x" },
		"no entry":             func(s *Site) { s.Names[0].Folder = "" },
		"relative folder":      func(s *Site) { s.Live = "live" },
		"balance":              func(s *Site) { s.Balance = "hash $x; }" },
		"balance by a text":    func(s *Site) { s.Balance = "hash x" },
		"thumbprint":           func(s *Site) { s.Challenges = &Challenges{Thumbprint: `";}`} },
		"no versions":          func(s *Site) { s.Protocols = nil },
		"relative snippet":     func(s *Site) { s.Snippets = []string{"x"} },
		"pattern as a snippet": func(s *Site) { s.Snippets = []string{"/etc/*"} },
		"CA":                   func(s *Site) { s.Clients = &SiteClients{CA: "x"} },
		"line in a header":     func(s *Site) { s.HSTS = "a\nb" },
		"NUL in ciphers":       func(s *Site) { s.Ciphers = "a\x00" },
		"variable in ciphers":  func(s *Site) { s.Ciphers = "$x" },
		"long value":           func(s *Site) { s.Ciphers = strings.Repeat("a", maxToken+1) },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			s := aSite("1.22.1")
			spoil(&s)
			if r, err := embedded(t).Render(s); err == nil || errors.Is(err, ErrTemplate) {
				t.Errorf("Render() = %s, %v, want an error about the site", r.File.Text, err)
			}
		})
	}
}

// TestOwnTemplates: whatever is in an operator's template, it ends, soon, and
// says what is wrong with it and where.
func TestOwnTemplates(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"syntax":              {"a\nb {{if}}", "t/site.conf:2: missing value for if"},
		"unknown function":    {"{{env}}", `t/site.conf:1: function "env" not defined`},
		"missing field":       {"\n\n{{.Colour}}", "t/site.conf:3:2: executing"},
		"missing in a loop":   {"{{range .Backends}}\n{{.Colour}}{{end}}", "t/site.conf:2:2: executing"},
		"missing template":    {`{{template "x"}}`, `t/site.conf:1:11: executing "t/site.conf" at <{{template "x"}}>: template "x" not defined`},
		"endless loop":        {"\n{{range 1000000000000000}}{{end}}", "t/site.conf:2:26: it runs for more than"},
		"endless in parts":    {`{{define "x"}}{{range 1000000000000000}}{{range 2}}{{end}}{{end}}{{end}}{{if true}}{{with 1}}{{template "x"}}{{end}}{{end}}`, "it runs for more than"},
		"endless recursion":   {`{{define "x"}}{{template "x"}}{{end}}{{template "x"}}`, "exceeded maximum template depth"},
		"wide recursion":      {`{{define "x"}}{{template "y"}}{{template "y"}}{{end}}{{define "y"}}{{if false}}{{template "x"}}{{end}}{{range 1000000}}{{range 1000000}}{{end}}{{end}}{{end}}{{template "x"}}`, "it runs for more than"},
		"endless text":        {"{{range 1000000000}}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa{{end}}", "it writes more than"},
		"text that doubles":   {`{{$s := "aaaaaaaa"}}{{range 60}}{{$s = print $s $s}}{{end}}`, "a text of more than"},
		"wide number":         {`{{range 100}}{{printf "%900000d" 1}}{{end}}`, "a text of more than"},
		"function that calls": {"{{call .ID}}", "the function call cannot be used here"},
		"value taken apart":   {"{{slice .ID 0 1}}", "the function slice cannot be used here"},
		"large":               {strings.Repeat(" ", maxTemplate+1), "bytes, at most"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			own, err := ParseSite("t/site.conf", []byte(tt.text))
			if err == nil {
				if own.limit = time.Minute; strings.Contains(tt.want, "it runs") {
					own.limit = 100 * time.Millisecond
				}
				_, err = own.Render(aSite("1.22.1"))
			}
			if !errors.Is(err, ErrTemplate) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Render() = %v, want %q", err, tt.want)
			}
		})
	}
}

// TestValuesPrintInOneWayOnly: no verb shows a value as it is.
func TestValuesPrintInOneWayOnly(t *testing.T) {
	const hostile = "a; } server {"
	s := aSite("1.22.1")
	s.Ciphers = hostile
	for _, verb := range []string{`{{.Ciphers}}`, `{{printf "%s" .Ciphers}}`, `{{printf "%v" .Ciphers}}`, `{{printf "%+v" .Ciphers}}`, `{{printf "%#v" .Ciphers}}`, `{{printf "%q" .Ciphers}}`, `{{printf "%x" .Ciphers}}`, `{{printf "%d" .Ciphers}}`, `{{print .Ciphers}}`, `{{with .Ciphers}}{{.}}{{end}}`} {
		own, err := ParseSite("t", []byte(verb))
		if err != nil {
			t.Fatal(err)
		}
		if r, err := own.Render(s); err != nil || string(r.File.Text) != `"`+hostile+`"` {
			t.Errorf("%s = %s, %v, want it quoted", verb, r.File.Text, err)
		}
	}
	if own, err := ParseSite("t", []byte(`{{len .Ciphers}}{{index .Ciphers 0}}`)); err != nil {
		t.Fatal(err)
	} else if r, err := own.Render(s); err == nil {
		t.Errorf("a value taken apart = %s, want an error", r.File.Text)
	}
}

func TestQuoteIsBounded(t *testing.T) {
	for s, ok := range map[string]bool{strings.Repeat("a", maxToken): true, strings.Repeat("a", maxToken+1): false, strings.Repeat(`"`, maxToken/2): false, strings.Repeat(`;`, maxToken-2): true} {
		if _, err := Quote(s); (err == nil) != ok {
			t.Errorf("Quote(%d bytes) = %v, want allowed: %t", len(s), err, ok)
		}
	}
}

func TestTLSLeavesNamesToSites(t *testing.T) {
	own := TLS{Names: some, Sites: map[string]bool{"a.test": true}, Live: "/live", None: "_none", Listen: []string{"443 ssl"}}
	text := func(v TLS) string {
		files, err := Render(Values{Release: 1, ReleaseAddress: "127.0.0.1:1", PerHost: true, TLS: &v})
		if err != nil {
			t.Fatal(err)
		}
		return string(files[len(files)-1].Text)
	}
	listed := text(own)
	if strings.Contains(listed, "server_name a.test") || !strings.Contains(listed, "    a.test a.test;") || !strings.Contains(listed, "server_name b.test") {
		t.Errorf("a site's name in the servers of all names, or not in the map:\n%s", listed)
	}
	own.Static = true
	if static := text(own); strings.Contains(static, "a.test") {
		t.Errorf("a server for a site's name:\n%s", static)
	}
	own.Static, own.Sites = false, map[string]bool{"a.test": true, "b.test": true, "*.w.test": true}
	if none := text(own); strings.Contains(none, "server {") || !strings.Contains(none, "map $realpath_root") {
		t.Errorf("a server without names, or no maps:\n%s", none)
	}
}
