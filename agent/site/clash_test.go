package site

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestClashes(t *testing.T) {
	const clients = "\nclient_certificates { ca = \"a.pem\" }"
	a := with(t, "", `"blog"`, `"a"`)
	tests := map[string]struct {
		other Site
		want  string // a part of the only clash; empty: none
	}{
		"another name":         {with(t, "", `blog.test`, `b.test`), ""},
		"the same name":        {with(t, ""), "sites a and blog clash: both answer to blog.test on *:443"},
		"in upper case":        {with(t, "", `blog.test`, `BLOG.test.`), "both answer to blog.test"},
		"below a wildcard":     {with(t, "", `blog.test`, `*.test.test`), ""},
		"on another socket":    {with(t, "listen = [\"8443\"]\nhttp = \"off\""), ""},
		"on the same, spelled": {with(t, "listen = [\"0.0.0.0:443\"]\nhttp = \"off\""), "both answer to blog.test on *:443"},
		"without TLS only":     {with(t, `listen = ["8443"]`), "both answer to blog.test on *:80"},
		"TLS on port 80":       {with(t, "listen = [\"80\"]\nhttp = \"off\"", "blog.test", "b.test"), "site blog clashes with the node's own sockets: *:80 is with TLS for one"},
		"plain on port 443":    {with(t, `http_listen = ["443"]`, "blog.test", "b.test"), "*:443 is with TLS for one and without"},
		"clients on 443":       {with(t, `listen = ["443"]`+clients, "blog.test", "b.test"), "the rules about client certificates differ on *:443"},
		"modern on 443":        {with(t, "listen = [\"443\"]\ntls { policy = \"modern\" }", "blog.test", "b.test"), "the TLS versions differ on *:443"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var texts []string
			for _, c := range Clashes([]Site{a, tt.other}, DefaultSockets()) {
				texts = append(texts, c.Error())
				if !errors.Is(c, ErrSite) {
					t.Errorf("%v is no ErrSite", c)
				}
			}
			got := strings.Join(texts, "\n")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("Clashes() = %s, want %q", got, tt.want)
			}
		})
	}
}

func TestClashesOnOwnSockets(t *testing.T) {
	one := with(t, "listen = [\"8443\"]\nclient_certificates { ca = \"a.pem\" }", "blog", "one")
	tests := map[string]struct {
		more, want string
	}{
		"the same rules":       {"listen = [\"8443\"]\nclient_certificates { ca = \"a.pem\" }", ""},
		"another CA":           {"listen = [\"8443\"]\nclient_certificates { ca = \"b.pem\" }", "client certificates differ"},
		"optional":             {"listen = [\"8443\"]\nclient_certificates {\n ca = \"a.pem\"\n mode = \"optional\"\n}", "client certificates differ"},
		"none":                 {`listen = ["8443"]`, "client certificates differ"},
		"with PROXY protocol":  {"listen = [\"8443\"]\nproxy_protocol = true\nclient_certificates { ca = \"a.pem\" }", "PROXY protocol"},
		"another address":      {"listen = [\"192.0.2.1:8443\"]", ""},
		"the node's beside it": {"", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := Clashes([]Site{one, with(t, tt.more)}, DefaultSockets())
			if tt.want == "" && len(got) > 0 || tt.want != "" && (len(got) != 1 || !strings.Contains(got[0].What, tt.want) || got[0].A != "one" || got[0].B != "blog") {
				t.Errorf("Clashes() = %v, want %q", got, tt.want)
			}
		})
	}
}

func TestClashesOfCurves(t *testing.T) {
	policy := func(listen, curves string) string {
		return fmt.Sprintf("listen = [%q]\nhttp = \"off\"\ntls {\npolicy = \"custom\"\nprotocols = [\"TLSv1.2\", \"TLSv1.3\"]\n%s\n}", listen, curves)
	}
	const mozilla, other = `curves = "X25519:prime256v1:secp384r1"`, `curves = "X25519"`
	tests := map[string]struct {
		one, two string
		want     string // a part of the only clash; empty: none
	}{
		"others than the node": {"", policy("443", other), "site b clashes with the node's own sockets: the curves differ on *:443, where only those of its default server count: give"},
		"those of the node":    {"", policy("443", mozilla), ""},
		"none":                 {"", policy("443", ""), ""},
		"two of their own":     {policy("8443", mozilla), policy("8443", other), "sites a and b clash: the curves differ on *:8443"},
		"none and Mozilla's":   {policy("8443", mozilla), policy("8443", ""), ""},
		"intermediate":         {"listen = [\"8443\"]\nhttp = \"off\"", policy("8443", other), "the curves differ on *:8443"},
		"different sockets":    {policy("8443", mozilla), policy("9443", other), ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := Clashes([]Site{with(t, tt.one, "blog", "a"), with(t, tt.two, "blog", "b")}, DefaultSockets())
			if tt.want == "" && len(got) > 0 || tt.want != "" && (len(got) != 1 || !strings.Contains(got[0].Error(), tt.want)) {
				t.Errorf("Clashes() = %v, want %q", got, tt.want)
			}
		})
	}
}

func TestDiff(t *testing.T) {
	before, after := parse(t, least)[0], parse(t, strings.Replace(full, `"shop"`, `"blog"`, 1))[0]
	if list, err := Diff(before, before); err != nil || len(list) > 0 {
		t.Errorf("Diff() of the same = %v, %v, want none", list, err)
	}
	list, err := Diff(before, after)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]Difference{}
	for i, d := range list {
		got[d.Field] = d
		if i > 0 && list[i-1].Field >= d.Field {
			t.Errorf("Diff() has %s after %s, want them sorted", d.Field, list[i-1].Field)
		}
	}
	for _, want := range []Difference{
		{"backends.service", `"web"`, ""}, {"hsts.max_age", "", `"8760h"`}, {"http2", "true", "false"},
		{"server_names", `["blog.test"]`, `["shop.test","*.shop.test"]`}, {"max_body_size", `"1m"`, `"10m"`},
	} {
		if got[want.Field] != want {
			t.Errorf("Diff() has %+v, want %+v", got[want.Field], want)
		}
	}
	if _, ok := got["backends.weights"]; ok {
		t.Error("Diff() has a field that is the same")
	}
}
