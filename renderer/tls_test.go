package renderer

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/probe"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

func TestPickTLSMode(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		version string
		names   int
		mode    TLSMode
		cache   bool
	}{
		"old, few":     {"1.22.1", 200, TLSStatic, false},
		"old, many":    {"1.22.1", 201, TLSVariable, false},
		"just before":  {"1.27.3", 200, TLSStatic, false},
		"first":        {"1.27.4", 1, TLSVariable, true},
		"newer minor":  {"1.28.0", 1, TLSVariable, true},
		"newer major":  {"2.0", 1, TLSVariable, true},
		"new, many":    {"1.30.1", 100_000, TLSVariable, true},
		"unknown, few": {"", 1, TLSStatic, false},
		"two numbers":  {"1.27", 500, TLSVariable, false},
		"no numbers":   {"1.x.9", 500, TLSVariable, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if mode, cache := PickTLSMode(tt.version, tt.names); mode != tt.mode || cache != tt.cache {
				t.Errorf("PickTLSMode(%q, %d) = %s, %t, want %s, %t", tt.version, tt.names, mode, cache, tt.mode, tt.cache)
			}
		})
	}
}

func TestFlipIsServedByTheNextHandshake(t *testing.T) {
	t.Parallel()
	for _, names := range []NameMode{NamesOpen, NamesListed} {
		t.Run(string(names), func(t *testing.T) {
			t.Parallel()
			g := newTLSRig(t, testkit.NginxOptions{})
			live := g.put(t, "a.test", "b.test")
			o := g.serve(t, g.servers(names, "a.test", "b.test"))
			if len(o.Listeners) != 2 || !slices.ContainsFunc(o.Listeners, func(p fleet.ListenerProof) bool { return p.Listen == g.addr && p.Skipped == "" }) {
				t.Errorf("Apply() proves %+v, want listen %s as well", o.Listeners, g.addr)
			}
			before := g.onlyWorker(t)
			for range 5 {
				g.shows(t, "a.test", live["a.test"])
				live["a.test"] = g.put(t, "a.test")["a.test"]
				g.shows(t, "a.test", live["a.test"])
			}
			g.shows(t, "b.test", live["b.test"])
			if after := g.onlyWorker(t); after != before {
				t.Errorf("worker = %d, want %d: nginx was reloaded", after, before)
			}
		})
	}
}

func TestNamesThatAreServed(t *testing.T) {
	t.Parallel()
	names := []string{"*.w.test", "a.test", "deep.x.w.test", "own.w.test", "x_1.test", "xn--bcher-kva.test"}
	for _, mode := range []NameMode{NamesOpen, NamesListed} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			g := newTLSRig(t, testkit.NginxOptions{})
			live := g.put(t, names...)
			g.serve(t, g.servers(mode, names...))
			for sni, want := range map[string]string{
				"a.test": "a.test", "x_1.test": "x_1.test", "xn--bcher-kva.test": "xn--bcher-kva.test",
				"own.w.test": "own.w.test", "other.w.test": "*.w.test", "OTHER.W.TEST": "*.w.test", "deep.x.w.test": "deep.x.w.test",
				"a.test.": "a.test", "other.w.test.": "*.w.test",
			} {
				g.shows(t, sni, live[want])
			}
			if mode == NamesListed {
				g.shows(t, "A.Test", live["a.test"])
			} else {
				g.refuses(t, "A.Test")
			}
			for _, sni := range []string{
				"", ".", "..", "../x", "../a.test", "a.test/../b.test", "a..b", "a.test..", "/a.test", "%2e%2e", "+.a.test",
				"_none", "none.test", "w.test", "a.b.w.test", "A.B.W.TEST", "a.own.w.test", "x.w.test.w.test", ".w.test", "*.w.test", "$host.w.test",
				"a b.w.test", "\xc3\xbc.w.test", "$host", "a.test\x00", "a.test\n", "a.test/", "{", "a.test;", strings.Repeat("a", 64) + ".test",
			} {
				g.refuses(t, sni)
			}
		})
	}
}

func TestStaticServers(t *testing.T) {
	t.Parallel()
	g := newTLSRig(t, testkit.NginxOptions{})
	live := g.put(t, "*.w.test", "a.test", "own.w.test")
	servers := g.servers("", "*.w.test", "a.test", "missing.test", "own.w.test")
	servers.Mode = TLSStatic
	servers.Listen = []string{g.addr + " ssl backlog=64"}
	g.reopen(t, func(c *Config) { c.DefaultServers = []string{g.addr + " ssl"} })
	o := g.serve(t, servers)
	if !slices.Equal(codes(o), []string{CodeCertificateMissing}) || !strings.Contains(o.Problems[0].Message, "missing.test") {
		t.Errorf("Apply() problems = %+v, want %s for missing.test", o.Problems, CodeCertificateMissing)
	}
	if a := g.active(t); !slices.Equal(a.TLS.List, []string{"*.w.test", "a.test", "own.w.test"}) || a.TLS.Mode != TLSStatic {
		t.Errorf("Active().TLS = %+v, want the names that have certificates", a.TLS)
	}
	g.shows(t, "a.test", live["a.test"])
	g.shows(t, "own.w.test", live["own.w.test"])
	g.shows(t, "x.w.test", live["*.w.test"])
	for _, sni := range []string{"missing.test", "w.test", "a.b.w.test", "A.B.W.TEST", "a.own.w.test", "*.w.test", ".w.test"} {
		g.refuses(t, sni)
	}
	g.shows(t, "X.W.Test.", live["*.w.test"])
	old := live["a.test"]
	live["a.test"] = g.put(t, "a.test")["a.test"]
	g.shows(t, "a.test", old)
	g.serve(t, servers)
	g.shows(t, "a.test", live["a.test"])
}

// TestKeysAndCertificatesSwitchTogether: one release brings both.
func TestKeysAndCertificatesSwitchTogether(t *testing.T) {
	t.Parallel()
	g := newTLSRig(t, testkit.NginxOptions{})
	g.put(t, "a.test", "b.test")
	first, second := newRing(t, 1), newRing(t, 2)
	for _, tt := range []struct {
		ring    fleet.Ring
		list    []string
		refused string
	}{{first, []string{"a.test"}, "b.test"}, {second, []string{"b.test"}, "a.test"}} {
		rel := ringRelease(tt.ring)
		rel.TLS = g.servers(NamesListed, tt.list...)
		g.mustProve(t, rel)
		l := fleet.Listener{Network: "tcp", Address: g.addr, Listen: g.addr, ServerName: tt.list[0]}
		if err := probe.Proved((&probe.Prober{}).Prove(t.Context(), []fleet.Listener{l}), tt.ring.Current.Name()); err != nil {
			t.Errorf("%s: %v", tt.list[0], err)
		}
		g.refuses(t, tt.refused)
	}
}

func TestReleaseWithoutAnyCertificate(t *testing.T) {
	t.Parallel()
	for _, names := range []NameMode{NamesOpen, NamesListed} {
		t.Run(string(names), func(t *testing.T) {
			t.Parallel()
			g := newTLSRig(t, testkit.NginxOptions{})
			g.serve(t, g.servers(names, "a.test"))
			g.refuses(t, "a.test")
			live := g.put(t, "a.test")
			g.shows(t, "a.test", live["a.test"])
			o, err := g.Prove(t.Context())
			if err != nil || !o.Proved || len(o.Listeners) != 2 || o.Listeners[1].Skipped != "" {
				t.Errorf("Prove() = %+v, %v, want both listeners proved", o, err)
			}
			if err := g.DropLive("a.test"); err != nil {
				t.Fatal(err)
			}
			g.refuses(t, "a.test")
		})
	}
}

func TestApplyRefusesUnusableServers(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	good := TLSServers{Mode: TLSVariable, Names: NamesListed, List: []string{"a.test", "b.test"}, Listen: []string{"127.0.0.1:9 ssl"}}
	tests := map[string]func(*TLSServers){
		"mode":             func(s *TLSServers) { s.Mode = "both" },
		"names":            func(s *TLSServers) { s.Names = "" },
		"no listen":        func(s *TLSServers) { s.Listen = nil },
		"blank listen":     func(s *TLSServers) { s.Listen = []string{" "} },
		"not sorted":       func(s *TLSServers) { s.List = []string{"b.test", "a.test"} },
		"twice":            func(s *TLSServers) { s.List = []string{"a.test", "a.test"} },
		"path as name":     func(s *TLSServers) { s.List = []string{"../x"} },
		"directive":        func(s *TLSServers) { s.List = []string{"a.test;"} },
		"relative include": func(s *TLSServers) { s.ServerInclude = "x.conf" },
		"include variable": func(s *TLSServers) { s.ServerInclude = "/x/$host" },
		"cache in static":  func(s *TLSServers) { s.Mode, s.Cache = TLSStatic, true },
	}
	for name, spoil := range tests {
		rel := ringRelease(newRing(t, 1))
		rel.TLS = good
		spoil(&rel.TLS)
		if o, err := g.Apply(t.Context(), rel); err == nil || o.Reload.Result != fleet.ReloadRejected {
			t.Errorf("Apply(%s) = %+v, %v, want an error", name, o.Reload, err)
		}
	}
}

func TestTenThousandNames(t *testing.T) {
	t.Parallel()
	g := newTLSRig(t, testkit.NginxOptions{})
	var list []string
	for i := range 10_000 {
		list = append(list, fmt.Sprintf("host-%05d.%s.test", i, strings.Repeat("x", i%60+1)))
	}
	live := g.put(t, list[9_999])
	began := time.Now()
	m := manifest{Release: 1, Keys: keyNames(newRing(t, 1)), TLS: g.servers(NamesListed, list...), Frame: g.frame(Inspection{})}
	if _, err := g.render(m, Inspection{}); err != nil {
		t.Fatal(err)
	}
	rendered := time.Since(began)
	o := g.serve(t, m.TLS)
	t.Logf("10,000 listed names: rendered in %s, released in %s", rendered, o.Reload.Took)
	g.shows(t, list[9_999], live[list[9_999]])
	if err := g.nginx.Test(t); err != nil {
		t.Error(err)
	}
	if log := g.nginx.ErrorLog(); strings.Contains(log, "could not build") {
		t.Errorf("nginx finds its tables too small:\n%s", log)
	}
}

func TestSizesOfTheOperatorStay(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a23456789.", 24) + "test"
	for name, http := range map[string]string{
		"none":    "",
		"all set": "server_names_hash_bucket_size 1024; server_names_hash_max_size 4096; map_hash_bucket_size 1024; map_hash_max_size 4096;",
		"one set": "map_hash_bucket_size 512;",
		"a map":   "map_hash_bucket_size 512; map $host $x { default 1; }",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newTLSRig(t, testkit.NginxOptions{})
			write(t, g.nginx.ConfigFile, strings.Replace(read(t, g.nginx.ConfigFile), "access_log off;", "access_log off; "+http, 1))
			live := g.put(t, long)
			for range 2 { // the second time nginx's configuration has our own sizes
				g.serve(t, g.servers(NamesListed, long))
			}
			g.shows(t, long, live[long])
		})
	}
}

func TestRenderedOpenNames(t *testing.T) {
	t.Parallel()
	s := TLSServers{Mode: TLSVariable, Names: NamesOpen, List: []string{"*.b.test", "a.test", "b.test", "c.b.test", "d.c.b.test", "xb.test"}}
	want := []string{"*.b.test", "c.b.test"}
	if got := s.rendered(); !slices.Equal(got, want) {
		t.Errorf("rendered() = %v, want the wildcard and what is below it, %v", got, want)
	}
}

func TestOperatorsFileIsInEachServer(t *testing.T) {
	t.Parallel()
	for _, mode := range []TLSMode{TLSVariable, TLSStatic} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			g := newTLSRig(t, testkit.NginxOptions{})
			g.put(t, "a.test")
			file := filepath.Join(filepath.Dir(g.cfg.StateDir), "my servers.conf")
			write(t, file, "location = /hello { return 200 hello; }\n")
			servers := g.servers(NamesListed, "a.test")
			servers.Mode, servers.ServerInclude = mode, file
			g.serve(t, servers)
			if got := g.get(t, "a.test", "/hello"); got != "HTTP/1.1 200 OK" {
				t.Errorf("GET /hello = %s, want 200", got)
			}
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			rel := ringRelease(newRing(t, 2))
			rel.TLS = servers
			if o := g.apply(t, rel); o.Reload.Result != fleet.ReloadRejected || !strings.Contains(o.Reload.Err, file) {
				t.Errorf("Apply() = %+v without the operator's file, want rejected for it", o.Reload)
			}
		})
	}
}

// TestServersSpeakTLS13: nginx before 1.23.4 does so only if told.
func TestServersSpeakTLS13(t *testing.T) {
	t.Parallel()
	const own = "ssl_protocols TLSv1.2 TLSv1.3;"
	tests := map[string]struct {
		http, server string
		versions     []uint16
	}{
		"nobody says":          {"", "", []uint16{tls.VersionTLS12, tls.VersionTLS13}},
		"the operator says":    {"ssl_protocols TLSv1.2;", "", []uint16{tls.VersionTLS12}},
		"in the servers' file": {"", "ssl_protocols TLSv1.3 TLSv1.2;", []uint16{tls.VersionTLS12, tls.VersionTLS13}},
	}
	for _, mode := range []TLSMode{TLSVariable, TLSStatic} {
		for name, tt := range tests {
			t.Run(string(mode)+" "+name, func(t *testing.T) {
				t.Parallel()
				g := newTLSRig(t, testkit.NginxOptions{})
				write(t, g.nginx.ConfigFile, strings.Replace(read(t, g.nginx.ConfigFile), own, tt.http, 1))
				file := filepath.Join(filepath.Dir(g.cfg.StateDir), "servers.conf")
				write(t, file, tt.server)
				g.put(t, "a.test")
				servers := g.servers(NamesListed, "a.test")
				servers.Mode, servers.ServerInclude = mode, file
				g.serve(t, servers)
				var spoken []uint16
				for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
					c, err := tls.Dial("tcp", g.addr, &tls.Config{ServerName: "a.test", InsecureSkipVerify: true, MinVersion: v, MaxVersion: v})
					if err != nil {
						continue
					}
					spoken = append(spoken, c.ConnectionState().Version)
					if err := c.Close(); err != nil {
						t.Error(err)
					}
				}
				if !slices.Equal(spoken, tt.versions) {
					t.Errorf("versions = %x, want %x", spoken, tt.versions)
				}
			})
		}
	}
}

func TestSizesAfterTheIncludeAreExplained(t *testing.T) {
	t.Parallel()
	g := newTLSRig(t, testkit.NginxOptions{HTTP: "map_hash_bucket_size 512;"})
	rel := ringRelease(newRing(t, 1))
	rel.TLS = g.servers(NamesListed, "a.test")
	o := g.apply(t, rel)
	if o.Reload.Result != fleet.ReloadRejected || !slices.Contains(codes(o), CodeSizesLate) {
		t.Errorf("Apply() = %+v, want rejected with %s", o, CodeSizesLate)
	}
}

func TestMapBeforeTheInclude(t *testing.T) {
	t.Parallel()
	g := newTLSRig(t, testkit.NginxOptions{})
	write(t, g.nginx.ConfigFile, strings.Replace(read(t, g.nginx.ConfigFile), "access_log off;", "access_log off; map $host $x { default 1; }", 1))
	fits, long := strings.Repeat("a", plainName-5)+".test", strings.Repeat("a", plainName-4)+".test"
	live := g.put(t, fits, long)
	if o := g.serve(t, g.servers(NamesListed, fits)); len(o.Problems) != 0 {
		t.Errorf("Apply() = %+v, want no problem", o.Problems)
	}
	g.shows(t, fits, live[fits])
	rel := ringRelease(newRing(t, 2))
	rel.TLS = g.servers(NamesListed, fits, long)
	slices.Sort(rel.TLS.List)
	o := g.apply(t, rel)
	if o.Reload.Result != fleet.ReloadRejected || !slices.Contains(codes(o), CodeSizesLate) || !strings.Contains(o.Problems[0].Message, long) {
		t.Errorf("Apply() = %+v, want rejected with %s", o, CodeSizesLate)
	}
	g.shows(t, fits, live[fits])
}
