package site

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestParseReadsEverySetting(t *testing.T) {
	got := parse(t, full+least)
	want := Site{
		ID: "shop", ServerNames: []string{"shop.test", "*.shop.test"}, Listen: []string{"*:8443", "[::]:8443"}, ProxyProtocol: true,
		HTTP: HTTPRedirect, HTTPListen: []string{"*:8080"}, WebSocket: true, MaxBody: 10 << 20, Snippets: []string{"gzip.conf", "limits"},
		Backends: Backends{
			PassingOnly: true, Weights: true, KeepLast: true, Method: LeastConn,
			Addresses: []Backend{{"192.0.2.1:80", 3, false}, {"[2001:db8::1]:80", 1, false}, {"unix:/run/app.sock", 1, true}},
		},
		TLS:      TLS{Policy: Custom, Protocols: []string{TLS12, TLS13}, Ciphers: "ECDHE+AESGCM:!aNULL", ServerOrder: true, Curves: "X25519"},
		HSTS:     &HSTS{8760 * hour, true, true},
		Clients:  &Clients{"partners.pem", ClientOptional, 2},
		Timeouts: Timeouts{second, 2 * second, hour, 90 * second},
	}
	if !reflect.DeepEqual(got[0], want) {
		t.Errorf("Parse() = %+v, want %+v", got[0], want)
	}
	small := New("blog")
	small.ServerNames, small.Backends.Service = []string{"blog.test"}, "web"
	if !reflect.DeepEqual(got[1], small) {
		t.Errorf("Parse() = %+v, want the defaults %+v", got[1], small)
	}
}

// TestFilesAreTheSame: what is shown can be set again.
func TestFilesAreTheSame(t *testing.T) {
	want := parse(t, least+full)
	for name, write := range map[string]func([]Site) ([]byte, error){"JSON": FileJSON, "HCL": FileHCL} {
		text, err := write(want)
		if err != nil {
			t.Fatal(err)
		}
		if got := parse(t, string(text)); !reflect.DeepEqual(got, want) {
			t.Errorf("Parse(%s) = %+v, want %+v", name, got, want)
		}
	}
}

func TestParseNamesThePlaceAndWhatToDo(t *testing.T) {
	tests := map[string]struct {
		text string
		want []string // each in one of the errors
	}{
		"nothing":           {"", []string{"f.hcl:1:1: there is no site in it", `site "shop"`}},
		"syntax":            {"site \"a\" {\n  x = [\n}", []string{"f.hcl:3:1:"}},
		"unknown setting":   {strings.Replace(least, "backends", "sever_names = 1\n  backends", 1), []string{"f.hcl:4:3: site blog: unsupported argument", `"sever_names"`}},
		"unknown block":     {strings.Replace(least, "backends", "backend {}\n  backends", 1), []string{"f.hcl:4:3: site blog: unsupported block type"}},
		"unknown inside":    {strings.Replace(least, "service", "servcie", 1), []string{"f.hcl:4:14: site blog: backends: unsupported argument"}},
		"unknown at top":    {"sites {}", []string{"f.hcl:1:1: unsupported block type"}},
		"no label":          {"site {}", []string{"f.hcl:1:6: missing id for site"}},
		"wrong type":        {strings.Replace(least, `["blog.test"]`, `"blog.test"`, 1), []string{"f.hcl:3:18: site blog: server_names: it is no list; give a list"}},
		"number as text":    {strings.Replace(least, `"web"`, `1`, 1), []string{"f.hcl:4:24: site blog: backends.service: it is a number, not a string"}},
		"null":              {strings.Replace(least, `"web"`, `null`, 1), []string{"backends.service: it is null"}},
		"empty":             {strings.Replace(least, `"web"`, `""`, 1), []string{"backends.service: it is empty"}},
		"variable":          {strings.Replace(least, `"web"`, `"${x}"`, 1), []string{"f.hcl:4:27: site blog: backends.service: variables not allowed"}},
		"name":              {strings.Replace(least, `"blog.test"`, `"a.test", "b_;.test"`, 1), []string{"f.hcl:3:18: site blog: server_names: not a usable domain name", "b_;.test"}},
		"value":             {strings.Replace(least, `{ service = "web" }`, "{\n service = \"web\"\n method = \"rr\"\n}", 1), []string{`f.hcl:6:2: site blog: backends.method: "rr" is not known; use one of "round_robin"`}},
		"missing in block":  {strings.Replace(least, `service = "web"`, "", 1), []string{"f.hcl:4:3: site blog: backends: it has neither a service nor addresses; give service ="}},
		"missing block":     {"site \"a\" { server_names = [\"a.test\"] }", []string{"f.hcl:1:1: site a: backends: it has neither"}},
		"missing names":     {"site \"a\" {\n backends { service = \"x\" }\n}", []string{"f.hcl:1:1: site a: server_names: a site needs a name"}},
		"site twice":        {least + least, []string{"f.hcl:7:1: site blog: it is there twice; remove this or the one in line 2"}},
		"block twice":       {strings.Replace(least, "}\n}", "}\n  backends { service = \"y\" }\n}", 1), []string{"f.hcl:5:3: site blog: backends: it is there twice"}},
		"ID":                {`site "A/b" {}`, []string{"f.hcl:1:1: not a usable name", "server_names"}},
		"reserved ID":       {`site "head" {}`, []string{"is the key of the list"}},
		"upper case ID":     {`site "Shop" {}`, []string{"has upper case"}},
		"duration":          {strings.Replace(least, "backends", "timeouts { read = 5 }\n backends", 1), []string{"f.hcl:4:21: site blog: timeouts.read: it is a number, not a string; give a duration in quotes"}},
		"size":              {strings.Replace(least, "backends", "max_body_size = \"10mb\"\n backends", 1), []string{`max_body_size: "10mb" is not a size; give a size in quotes`}},
		"address":           {strings.Replace(least, `service = "web"`, `addresses = ["web.test:80"]`, 1), []string{`backends.addresses: "web.test:80" is not an IP address with a port; give IP`}},
		"curves on shared":  {custom("", `["TLSv1.2", "TLSv1.3"]`, "X25519"), []string{"f.hcl:7:2: site blog: tls.curves: a site on the node's sockets has the curves of these, X25519:prime256v1:secp384r1", "; remove it, or give the site a socket"}},
		"one version there": {custom("", `["TLSv1.2"]`, "X25519:prime256v1:secp384r1"), []string{"f.hcl:6:2: site blog: tls.protocols: a site on the node's sockets has the versions", "or give the site a socket of its own"}},
		"unseen curves":     {custom(`listen = ["8443"]`, `["TLSv1.3"]`, "X448:brainpoolP256r1"), []string{"f.hcl:7:2: site blog: tls.curves: \"X448:brainpoolP256r1\" has no curve", "have X25519 or prime256v1 in it"}},
		"two mistakes":      {strings.NewReplacer(`"web"`, `1`, `["blog.test"]`, `1`).Replace(least), []string{"f.hcl:3:18", "f.hcl:4:24"}},
		"JSON":              {`{"site":{"a":{"server_names":["a.test"],` + "\n" + `"backend":{}}}}`, []string{"f.hcl:2:1: site a: extraneous JSON object property", "backends: it has neither"}},
		"JSON syntax":       {`{"site":`, []string{"f.hcl:1:"}},
		"JSON with literal": {`{"site":{"a":{"server_names":["${x}"],"backends":{"service":"x"}}}}`, []string{"server_names: not a usable domain name"}},
		"too large":         {strings.Repeat("#\n", MaxFile), []string{"the file has more than", "split it"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			sites, err := Parse([]byte(tt.text), "f.hcl", nil)
			if err == nil || len(sites) > 0 || !errors.Is(err, ErrSite) {
				t.Fatalf("Parse() = %v, %v, want ErrSite", sites, err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("Parse() = %v\nwant it to have %q", err, want)
				}
			}
		})
	}
}

// custom is a site with a policy of its own.
func custom(more, protocols, curves string) string {
	return strings.Replace(least, "backends", fmt.Sprintf("tls {\n policy = \"custom\"\n protocols = %s\n curves = %q\n}\n%s\nbackends", protocols, curves, more), 1)
}

// TestCustomThatItsSocketHasAnyway: what a site's socket does as well can be set.
func TestCustomThatItsSocketHasAnyway(t *testing.T) {
	both := `["TLSv1.3", "TLSv1.2"]`
	for _, text := range []string{
		custom("", both, "X25519:prime256v1:secp384r1"), strings.Replace(custom("", both, "x"), ` curves = "x"`, "", 1),
		custom(`listen = ["8443"]`, `["TLSv1.2"]`, "X448:P-256"),
	} {
		if sites := parse(t, text); len(sites) != 1 {
			t.Errorf("Parse(%s) = %v, want a site", text, sites)
		}
	}
}

// TestSitesOfBeforeStayReadable: a record from when a site on the node's sockets
// could ask for curves that it never got.
func TestSitesOfBeforeStayReadable(t *testing.T) {
	s := parse(t, least)[0]
	s.TLS = TLS{Policy: Custom, Protocols: []string{TLS12}, Curves: "X448"}
	text, err := Encode(s, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := Decode(text); err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("Decode() = %+v, %v, want %+v", got, err, s)
	}
	if got := Clashes([]Site{s, parse(t, strings.NewReplacer("blog", "shop").Replace(least))[0]}, DefaultSockets()); len(got) > 0 {
		t.Errorf("Clashes() = %v, want none: the socket's curves count for both", got)
	}
}

// FuzzParse: what is accepted can be stored, and shown and read again.
func FuzzParse(f *testing.F) {
	f.Add(full)
	f.Add(least)
	f.Add(`{"site":{"a":{"server_names":["a.test"],"backends":{"service":"x"}}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		sites, err := Parse([]byte(text), "f", nil)
		if err != nil {
			return
		}
		for _, s := range sites {
			b, err := Encode(s, 1)
			if err != nil && !strings.Contains(err.Error(), "split the site") {
				t.Fatalf("Encode(%+v) = %v", s, err)
			}
			if got, _, err := Decode(b); len(b) > 0 && (err != nil || !reflect.DeepEqual(got, s)) {
				t.Fatalf("Decode() = %+v, %v, want %+v", got, err, s)
			}
		}
		for _, write := range []func([]Site) ([]byte, error){FileJSON, FileHCL} {
			again, err := write(sites)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := Parse(again, "g", nil); err != nil || len(got) != len(sites) {
				t.Fatalf("Parse(%s) = %v", again, err)
			}
		}
	})
}
