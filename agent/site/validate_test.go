package site

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	many := func(n int) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprintf("n%d.test", i))
		}
		return list
	}
	tests := map[string]struct {
		spoil func(*Site)
		want  string // a part of the error; empty: none
	}{
		"as it is":                   {func(*Site) {}, ""},
		"no names":                   {func(s *Site) { s.ServerNames = nil }, "server_names: a site needs"},
		"a name twice":               {func(s *Site) { s.ServerNames = []string{"a.test", "a.test"} }, "is there twice"},
		"too many names":             {func(s *Site) { s.ServerNames = many(MaxNames + 1) }, "101 entries"},
		"name with upper case":       {func(s *Site) { s.ServerNames = []string{"A.test"} }, "not a usable domain name"},
		"name that ends a directive": {func(s *Site) { s.ServerNames = []string{"a.test; }"} }, "not a usable domain name"},
		"socket":                     {func(s *Site) { s.Listen = []string{"80;"} }, "listen: "},
		"socket twice":               {func(s *Site) { s.Listen = []string{"443", "0.0.0.0:443"} }, `"*:443" is there twice`},
		"port 0":                     {func(s *Site) { s.HTTPListen = []string{"0"} }, "http_listen: "},
		"http":                       {func(s *Site) { s.HTTP = "x" }, "http: "},
		"off with a socket":          {func(s *Site) { s.HTTP, s.HTTPListen = HTTPOff, []string{"80"} }, "http_listen: "},
		"PROXY protocol of the node": {func(s *Site) { s.ProxyProtocol = true }, "proxy_protocol: "},
		"service and addresses":      {func(s *Site) { s.Backends.Addresses = []Backend{{"192.0.2.1:1", 1, false}} }, "a service and addresses"},
		"service that filters":       {func(s *Site) { s.Backends.Service = `x" or "a` }, "backends.service: "},
		"tag that filters":           {func(s *Site) { s.Backends.Tag = `x"` }, "backends.tag: "},
		"tag of nothing": {func(s *Site) {
			s.Backends = Backends{Method: RoundRobin, Tag: "x", Addresses: []Backend{{"192.0.2.1:1", 1, false}}}
		}, "about a service"},
		"hash without a key":          {func(s *Site) { s.Backends.Method = Hash }, "backends.hash_key"},
		"key without hash":            {func(s *Site) { s.Backends.HashKey = "uri" }, "backends.hash_key"},
		"key that is a variable":      {func(s *Site) { s.Backends.Method, s.Backends.HashKey = Hash, "$uri" }, "backends.hash_key"},
		"key by header":               {func(s *Site) { s.Backends.Method, s.Backends.HashKey = Hash, "header:X-User" }, ""},
		"key by a cookie with a dash": {func(s *Site) { s.Backends.Method, s.Backends.HashKey = Hash, "cookie:a-b" }, "has a '-'"},
		"weight 0": {func(s *Site) {
			s.Backends = Backends{Method: RoundRobin, Addresses: []Backend{{"192.0.2.1:1", 0, false}}}
		}, "weight 0"},
		"only backups": {func(s *Site) {
			s.Backends = Backends{Method: RoundRobin, Addresses: []Backend{{"192.0.2.1:1", 1, true}}}
		}, "every address is a backup"},
		"backup by address": {func(s *Site) {
			s.Backends = Backends{Method: IPHash, Addresses: []Backend{{"192.0.2.1:1", 1, true}, {"192.0.2.2:1", 1, false}}}
		}, "nginx knows no backup"},
		"address with a zone":         {func(s *Site) { s.Backends.Addresses = []Backend{{"[fe80::1%eth0]:1", 1, false}} }, "not an IP address"},
		"socket file with a variable": {func(s *Site) { s.Backends.Addresses = []Backend{{"unix:/run/$x", 1, false}} }, "unix socket"},
		"policy":                      {func(s *Site) { s.TLS.Policy = "old" }, "tls.policy: "},
		"ciphers without custom":      {func(s *Site) { s.TLS.Ciphers = "HIGH" }, "for the policy custom"},
		"custom without versions":     {func(s *Site) { s.TLS = TLS{Policy: Custom} }, "tls.protocols"},
		"old version":                 {func(s *Site) { s.TLS = TLS{Policy: Custom, Protocols: []string{"TLSv1.1", TLS12}} }, `"TLSv1.1" is not known`},
		"ciphers with a space":        {func(s *Site) { s.TLS = TLS{Policy: Custom, Protocols: []string{TLS12}, Ciphers: "HIGH ;"} }, "tls.ciphers"},
		"modern beside others":        {func(s *Site) { s.TLS.Policy = Modern }, "listen = "},
		"modern alone":                {func(s *Site) { s.TLS.Policy, s.Listen = Modern, []string{"8443"} }, ""},
		"HSTS by the moment":          {func(s *Site) { s.HSTS = &HSTS{MaxAge: second / 2} }, "hsts.max_age"},
		"HSTS that ends":              {func(s *Site) { s.HSTS = &HSTS{} }, ""},
		"preload for a day":           {func(s *Site) { s.HSTS = &HSTS{24 * hour, true, true} }, "wants a max_age of a year"},
		"preload of one name":         {func(s *Site) { s.HSTS = &HSTS{8760 * hour, false, true} }, "wants include_subdomains"},
		"preload without a redirect":  {func(s *Site) { s.HSTS, s.HTTP = &HSTS{8760 * hour, true, true}, HTTPServe }, "wants a redirect"},
		"clients beside others":       {func(s *Site) { s.Clients = &Clients{"a.pem", ClientRequired, 1} }, "client_certificates: "},
		"clients by path":             {func(s *Site) { s.Listen, s.Clients = []string{"1"}, &Clients{"../a.pem", ClientRequired, 1} }, "is a path"},
		"clients without TLS": {func(s *Site) {
			s.Listen, s.HTTP, s.Clients = []string{"1"}, HTTPServe, &Clients{"a.pem", ClientRequired, 1}
		}, "no client has a certificate"},
		"clients, deep":        {func(s *Site) { s.Listen, s.Clients = []string{"1"}, &Clients{"a.pem", ClientOptional, 11} }, "depth"},
		"snippet by path":      {func(s *Site) { s.Snippets = []string{"/etc/passwd"} }, "is a path"},
		"snippet above":        {func(s *Site) { s.Snippets = []string{".."} }, "begins with"},
		"snippet as a pattern": {func(s *Site) { s.Snippets = []string{"*.conf"} }, "characters other than"},
		"body":                 {func(s *Site) { s.MaxBody = -1 }, "max_body_size"},
		"timeout":              {func(s *Site) { s.Timeouts.Read = 0 }, "timeouts.read"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := parse(t, least)[0]
			tt.spoil(&s)
			err := Validate(s)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !errors.Is(err, ErrSite)) {
				t.Errorf("Validate() = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestSocket(t *testing.T) {
	for in, want := range map[string]string{
		"443": "*:443", "0.0.0.0:443": "*:443", "*:443": "*:443", "[::]:443": "[::]:443", "192.0.2.1:1": "192.0.2.1:1", "0443": "*:443",
		"": "", "0": "", "65536": "", "*:": "", "*:0": "", "443 ssl": "", "a.test:1": "", "[fe80::1%x]:1": "", "$x": "", "1.2.3.4:0": "",
	} {
		if got, err := Socket(in); got != want || (err == nil) != (want != "") {
			t.Errorf("Socket(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestSizeAndDuration(t *testing.T) {
	for in, want := range map[string]string{"0": "0", "1024": "1k", "10m": "10m", "1G": "1g", "2048k": "2m", "1000": "1000", "1023K": "1023k"} {
		var s Size
		if err := s.UnmarshalText([]byte(in)); err != nil || s.String() != want {
			t.Errorf("Size %q = %s, %v, want %s", in, s, err, want)
		}
	}
	for _, in := range []string{"", "m", "-1", "1mm", "1.5m", "99999999999", "1 m", "0x1"} {
		if err := new(Size).UnmarshalText([]byte(in)); err == nil {
			t.Errorf("Size %q = nil, want an error", in)
		}
	}
	for d, want := range map[Duration]string{hour: "1h", 90 * second: "1m30s", 0: "0s", 61 * 60 * second: "1h1m"} {
		if d.String() != want {
			t.Errorf("Duration = %s, want %s", d, want)
		}
	}
}
