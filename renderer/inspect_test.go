package renderer

import (
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// inspected parses http-level text, with OURS standing for our include line.
func inspected(t *testing.T, http string, files map[string]string) Inspection {
	t.Helper()
	dir := t.TempDir()
	cfg := Config{ConfigFile: filepath.Join(dir, "nginx.conf"), StateDir: filepath.Join(dir, "state")}
	for name, text := range files {
		write(t, filepath.Join(dir, name), strings.ReplaceAll(text, "OURS", cfg.IncludeLine()))
	}
	write(t, filepath.Join(cfg.currentDir(), "00-tickets.conf"), "ssl_session_ticket_key /k;\nssl_session_timeout 2h;\n")
	write(t, cfg.ConfigFile, "events {}\nhttp {\n"+strings.ReplaceAll(http, "OURS", cfg.IncludeLine())+"\n}\n")
	r := &Renderer{cfg: cfg}
	in := r.inspection()
	for i := range in.Listeners {
		in.Listeners[i].File = strings.TrimPrefix(in.Listeners[i].File, dir+"/")
		in.Listeners[i].HiddenBy = strings.TrimPrefix(in.Listeners[i].HiddenBy, dir+"/")
	}
	return in
}

func TestInspectFindsListeners(t *testing.T) {
	t.Parallel()
	const cert = "ssl_certificate c.pem; ssl_certificate_key k.pem;"
	tests := map[string]struct {
		http string
		want []fleet.Listener
	}{
		"no TLS": {"server { listen 80; }", nil},
		"port only": {
			"server { listen 443 ssl; server_name a.test; " + cert + " }",
			[]fleet.Listener{{Address: "127.0.0.1:443", Listen: "443", ServerName: "a.test"}},
		},
		"every spelling": {
			"server { listen *:443 ssl; listen [::]:443 ssl; listen 10.0.0.1:444 ssl; listen [fe00::1]:445 ssl; listen localhost:446 ssl; listen unix:/run/a.sock ssl; listen 0.0.0.0:447 ssl; listen [::1] ssl; listen 10.0.0.2 ssl; server_name a.test; " + cert + " }",
			[]fleet.Listener{
				{Address: "127.0.0.1:443", Listen: "*:443", ServerName: "a.test"},
				{Address: "[::1]:443", Listen: "[::]:443", ServerName: "a.test"},
				{Address: "10.0.0.1:444", Listen: "10.0.0.1:444", ServerName: "a.test"},
				{Address: "[fe00::1]:445", Listen: "[fe00::1]:445", ServerName: "a.test"},
				{Address: "localhost:446", Listen: "localhost:446", ServerName: "a.test"},
				{Network: "unix", Address: "/run/a.sock", Listen: "unix:/run/a.sock", ServerName: "a.test"},
				{Address: "127.0.0.1:447", Listen: "0.0.0.0:447", ServerName: "a.test"},
				{Address: "[::1]:80", Listen: "[::1]", ServerName: "a.test"},
				{Address: "10.0.0.2:80", Listen: "10.0.0.2", ServerName: "a.test"},
			},
		},
		"port range": {
			"server { listen 8443-8444 ssl; server_name a.test; " + cert + " }",
			[]fleet.Listener{
				{Address: "127.0.0.1:8443", Listen: "8443", ServerName: "a.test"},
				{Address: "127.0.0.1:8444", Listen: "8444", ServerName: "a.test"},
			},
		},
		"wildcard beside its loopback address": {
			"server { listen 127.0.0.1:443 ssl; server_name a.test; " + cert + " }\nserver { listen 443 ssl; server_name b.test; " + cert + " }",
			[]fleet.Listener{
				{Address: "127.0.0.1:443", Listen: "127.0.0.1:443", ServerName: "a.test"},
				{Address: "127.0.0.2:443", Listen: "443", ServerName: "b.test", Line: 4},
			},
		},
		"QUIC is another socket": {
			"server { listen 443 quic; listen 444 ssl; server_name a.test; " + cert + " }",
			[]fleet.Listener{{Address: "127.0.0.1:444", Listen: "444", ServerName: "a.test"}},
		},
		"default server by flag": {
			"server { listen 443 ssl; server_name a.test; " + cert + " }\nserver { listen *:443 ssl default_server; ssl_reject_handshake on; ssl_session_tickets off; }",
			[]fleet.Listener{{Address: "127.0.0.1:443", Listen: "443", ServerName: "a.test", TicketsOff: true, Line: 4}},
		},
		"ssl given once holds for the socket": {
			"server { listen 443; server_name a.test; " + cert + " }\nserver { listen 443 ssl proxy_protocol; server_name b.test; }",
			[]fleet.Listener{{Address: "127.0.0.1:443", Listen: "443", ServerName: "a.test", ProxyProto: true}},
		},
		"ssl on": {
			"ssl on; server { listen 443; server_name a.test; " + cert + " }",
			[]fleet.Listener{{Address: "127.0.0.1:443", Listen: "443", ServerName: "a.test"}},
		},
		"rejects all": {
			"server { listen 443 ssl; ssl_reject_handshake on; " + cert + " }\nserver { listen 443 ssl; server_name b.test; }",
			[]fleet.Listener{{Address: "127.0.0.1:443", Listen: "443", RejectsAll: true}},
		},
		"certificate and tickets from http level": {
			cert + " ssl_session_tickets off; server { listen 443 ssl; server_name a.test; }\nserver { listen 444 ssl; ssl_session_tickets on; server_name b.test; }",
			[]fleet.Listener{
				{Address: "127.0.0.1:443", Listen: "443", ServerName: "a.test", TicketsOff: true},
				{Address: "127.0.0.1:444", Listen: "444", ServerName: "b.test", Line: 4},
			},
		},
		"name of the first server that has it": {
			"server { listen 443 ssl; server_name a.test; ssl_reject_handshake on; }\nserver { listen 443 ssl; server_name a.test b.test; " + cert + " }",
			[]fleet.Listener{{Address: "127.0.0.1:443", Listen: "443", ServerName: "b.test"}},
		},
		"wildcard names": {
			"server { listen 443 ssl; server_name *.a.test; ssl_certificate $x; }\nserver { listen 444 ssl; server_name .a.test; " + cert + " }\nserver { listen 445 ssl; server_name ~^x; " + cert + " }\nserver { listen 446 ssl; server_name *.b.test; " + cert + " }",
			[]fleet.Listener{
				{Address: "127.0.0.1:443", Listen: "443", ServerName: "tlsfleet-probe.a.test"},
				{Address: "127.0.0.1:444", Listen: "444", ServerName: "a.test", Line: 4},
				{Address: "127.0.0.1:445", Listen: "445", Line: 5},
				{Address: "127.0.0.1:446", Listen: "446", ServerName: "tlsfleet-probe.b.test", Line: 6},
			},
		},
		"fixed certificate before one by variable": {
			"server { listen 443 ssl; server_name a.test; ssl_certificate /l/$name; }\nserver { listen 443 ssl; server_name b.test; " + cert + " }",
			[]fleet.Listener{{Address: "127.0.0.1:443", Listen: "443", ServerName: "b.test"}},
		},
		"own key hides ours": {
			"server { listen 443 ssl; server_name a.test;\nssl_session_ticket_key x;\nssl_session_ticket_key y; " + cert + " }\nserver { listen 444 ssl; server_name a.test; " + cert + " }\nserver { listen 444 ssl; server_name b.test; ssl_session_ticket_key x; " + cert + " }",
			[]fleet.Listener{
				{Address: "127.0.0.1:443", Listen: "443", ServerName: "a.test", HiddenBy: "nginx.conf:4"},
				{Address: "127.0.0.1:444", Listen: "444", ServerName: "a.test", Line: 6},
			},
		},
		"other contexts": {
			"server { listen 443 ssl; server_name a.test; " + cert + " location / { return 200; } }\n}\nstream { server { listen 444 ssl; " + cert + " }",
			[]fleet.Listener{{Address: "127.0.0.1:443", Listen: "443", ServerName: "a.test"}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for i := range tt.want {
				l := &tt.want[i]
				l.File = "nginx.conf"
				if l.Line == 0 {
					l.Line = 3
				}
				if l.Network == "" {
					l.Network = "tcp"
				}
			}
			if got := inspected(t, tt.http, nil).Listeners; !reflect.DeepEqual(got, tt.want) {
				t.Errorf("Listeners(%s) =\n%+v, want\n%+v", tt.http, got, tt.want)
			}
		})
	}
}

func TestInspectFindsIncludeTimeoutAndProblems(t *testing.T) {
	t.Parallel()
	const server = "server { listen 443 ssl; server_name a.test; ssl_certificate c; }"
	tests := map[string]struct {
		http     string
		files    map[string]string
		included bool
		own      bool
		timeout  time.Duration
		codes    []string
	}{
		"our include":            {http: "OURS " + server, included: true, timeout: 2 * time.Hour},
		"after the servers":      {http: server + " OURS", included: true, timeout: 2 * time.Hour},
		"missing":                {http: server, timeout: 5 * time.Minute, codes: []string{CodeIncludeMissing}},
		"commented out":          {http: "# OURS\n" + server, timeout: 5 * time.Minute, codes: []string{CodeIncludeMissing}},
		"inside a server":        {http: "server { listen 443 ssl; OURS }", timeout: 2 * time.Hour, codes: []string{CodeIncludeMissing, CodeKeyHidden}},
		"through conf.d":         {http: "include conf.d/*.conf; " + server, files: map[string]string{"conf.d/x.conf": "OURS"}, included: true, timeout: 2 * time.Hour},
		"two files deep":         {http: "include a; " + server, files: map[string]string{"a": "include b;", "b": "OURS"}, included: true, timeout: 2 * time.Hour},
		"one of our files only":  {http: "include state/nginx/current/00*.conf; " + server, timeout: 2 * time.Hour, codes: []string{CodeIncludeMissing}},
		"relative":               {http: "include state/nginx/current/*.conf; " + server, included: true, timeout: 2 * time.Hour},
		"own timeout":            {http: "include conf.d/*.conf; ssl_session_timeout 1d; " + server, included: false, own: true, timeout: 24 * time.Hour, codes: []string{CodeIncludeMissing}},
		"own timeout, server":    {http: "OURS server { listen 443 ssl; ssl_session_timeout 1h30m; ssl_certificate c; }", included: true, timeout: 90 * time.Minute},
		"own key before":         {http: "ssl_session_ticket_key x; OURS " + server, included: true, timeout: 2 * time.Hour, codes: []string{CodeKeyHidden}},
		"own key after":          {http: "OURS ssl_session_ticket_key x; " + server, included: true, timeout: 2 * time.Hour},
		"own key in the default": {http: "OURS server { listen 443 ssl; ssl_session_ticket_key x; ssl_certificate c; }", included: true, timeout: 2 * time.Hour, codes: []string{CodeKeyHidden}},
		"a missing include":      {http: "OURS include nowhere.conf; " + server, included: true, timeout: 2 * time.Hour},
		"a damaged include":      {http: "OURS include x; " + server, files: map[string]string{"x": "a {"}, included: true, timeout: 2 * time.Hour, codes: []string{CodeConfigUnparsed}},
		"include in a damaged":   {http: "include x; " + server, files: map[string]string{"x": "OURS a {"}, included: true, timeout: 5 * time.Minute, codes: []string{CodeConfigUnparsed}},
		"Lua":                    {http: "OURS init_by_lua_block { local a = \"}\" .. '\\'{'; -- don't {\n --[[ } ]] b = [==[ } ]] ]==] } " + server, included: true, timeout: 2 * time.Hour},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := inspected(t, tt.http, tt.files)
			var codes []string
			for _, p := range in.Problems {
				codes = append(codes, p.Code)
			}
			if in.Included != tt.included || in.own["ssl_session_timeout"] != tt.own || in.SessionTimeout != tt.timeout || !slices.Equal(codes, tt.codes) {
				t.Errorf("inspect(%s) = included %v, own timeout %v, timeout %s, problems %+v, want %v, %v, %s, %v",
					tt.http, in.Included, in.own["ssl_session_timeout"], in.SessionTimeout, in.Problems, tt.included, tt.own, tt.timeout, tt.codes)
			}
		})
	}
}

func TestInspectNamesTheDirectiveThatHidesKeys(t *testing.T) {
	t.Parallel()
	const key = "ssl_session_ticket_key x;"
	tests := map[string]struct {
		http  string
		files map[string]string
		want  string // end of the place
	}{
		"in the server":      {"OURS server { listen 443 ssl;\n\n" + key + " ssl_certificate c; }", nil, "nginx.conf:5 "},
		"in its include":     {"OURS server { listen 443 ssl; include tls; ssl_certificate c; }", map[string]string{"tls": "ssl_session_timeout 1h;\n" + key}, "tls:2 "},
		"before our include": {"\n" + key + "\nOURS server { listen 443 ssl; ssl_certificate c; }", nil, "nginx.conf:4 "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := inspected(t, tt.http, tt.files)
			if len(in.Problems) != 1 || in.Problems[0].Code != CodeKeyHidden || !strings.Contains(in.Problems[0].Message, "/"+tt.want) {
				t.Errorf("inspect(%s) = problems %+v, want %s at %s", tt.http, in.Problems, CodeKeyHidden, tt.want)
			}
		})
	}
}

func TestInspectEndsOnIncludeCycle(t *testing.T) {
	t.Parallel()
	in := inspected(t, "include a;", map[string]string{"a": "include b;", "b": "include a;"})
	if len(in.Problems) != 1 || in.Problems[0].Code != CodeConfigUnparsed {
		t.Errorf("inspect(cycle) = %+v, want %s", in, CodeConfigUnparsed)
	}
}

func TestNginxVersionIsThatOfInspect(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	in, err := g.Inspect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := g.NginxVersion(t.Context()); err != nil || got == "" || got != in.NginxVersion {
		t.Errorf("NginxVersion() = %q, %v, want %q", got, err, in.NginxVersion)
	}
	g.cfg.Binary = "/nowhere/nginx"
	if got, err := g.NginxVersion(t.Context()); err == nil {
		t.Errorf("NginxVersion() = %q without nginx, want an error", got)
	}
}

func TestParseBuild(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		out  string
		want build
	}{
		"Debian": {
			"nginx version: nginx/1.22.1\nbuilt with OpenSSL 3.0.22 (running with OpenSSL 3.0.19)\nconfigure arguments: --with-cc-opt='-g -O2' --prefix=/usr/share/nginx --conf-path=/etc/nginx/nginx.conf --http-log-path=/x",
			build{"1.22.1", "/etc/nginx/nginx.conf", "/usr/share/nginx", ""},
		},
		"nginx.org":  {"nginx version: nginx/1.30.0 (Ubuntu)\nconfigure arguments: --prefix='/a b'", build{"1.30.0", "conf/nginx.conf", "/a b", ""}},
		"a group":    {"nginx version: nginx/1.30.0\nconfigure arguments: --user=nginx --group=web --prefix=/p", build{"1.30.0", "conf/nginx.conf", "/p", "web"}},
		"a user":     {"nginx version: nginx/1.30.0\nconfigure arguments: --prefix=/p --user=nginx", build{"1.30.0", "conf/nginx.conf", "/p", "nginx"}},
		"OpenResty":  {"nginx version: openresty/1.25.3.1\nconfigure arguments: --prefix=/usr/local/openresty/nginx", build{"1.25.3.1", "conf/nginx.conf", "/usr/local/openresty/nginx", ""}},
		"nginx Plus": {"nginx version: nginx/1.25.5 (nginx-plus-r32)", build{"1.25.5", "conf/nginx.conf", "/usr/local/nginx", ""}},
		"no nginx":   {"GNU coreutils 9.1", build{"", "conf/nginx.conf", "/usr/local/nginx", ""}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := parseBuild(tt.out); got != tt.want {
				t.Errorf("parseBuild(%q) = %+v, want %+v", tt.out, got, tt.want)
			}
		})
	}
}

func TestParseTime(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		want time.Duration
		ok   bool
	}{
		"300": {300 * time.Second, true}, "10m": {10 * time.Minute, true}, "1h30m": {90 * time.Minute, true}, "1h 30m": {90 * time.Minute, true},
		"1d": {24 * time.Hour, true}, "1M": {30 * 24 * time.Hour, true}, "": {0, false}, "m": {0, false}, "1x": {0, false}, "99999999999": {0, false},
	}
	for text, tt := range tests {
		if got, ok := parseTime(text); got != tt.want || ok != tt.ok {
			t.Errorf("parseTime(%q) = %s, %v, want %s, %v", text, got, ok, tt.want, tt.ok)
		}
	}
}
