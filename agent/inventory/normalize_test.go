package inventory_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

func TestNormalize(t *testing.T) {
	for typed, want := range map[string]string{
		"example.org":                   "example.org",
		"WWW.Example.ORG":               "www.example.org",
		"example.org.":                  "example.org",
		"*.Example.org.":                "*.example.org",
		"_dmarc.r3---sn.example":        "_dmarc.r3---sn.example",
		"bücher.example":                "xn--bcher-kva.example",
		"BÜCHER.example.":               "xn--bcher-kva.example",
		"bu\u0308cher.example":          "xn--bcher-kva.example",
		"*.bücher.example":              "*.xn--bcher-kva.example",
		"XN--BCHER-KVA.example":         "xn--bcher-kva.example",
		"faß.de":                        "xn--fa-hia.de",
		"例。中国":                          "xn--fsq.xn--fiqs8s",
		"例。中国。":                         "xn--fsq.xn--fiqs8s",
		"ｅｘａｍｐｌｅ．ｏｒｇ":                   "example.org",
		"\u212aelvin.example":           "kelvin.example",
		"مثال.إختبار":                   "xn--mgbh0fb.xn--kgbechtv",
		"نامه\u200cای.example":          "xn--mgba3gch31f060k.example",
		strings.Repeat("ü", 57) + ".eu": "xn--td" + strings.Repeat("a", 57) + ".eu",
		"i❤.ws":                         "xn--i-7iq.ws",
	} {
		if got, err := inventory.Normalize(typed); err != nil || got != want {
			t.Errorf("Normalize(%q) = %q, %v, want %q", typed, got, err, want)
		}
	}
}

func TestNormalizeRefuses(t *testing.T) {
	label63 := strings.Repeat("a", 63)
	tests := map[string]struct{ typed, text string }{
		"empty":                    {"", "is empty"},
		"dot":                      {".", "is empty"},
		"two dots":                 {"..", "empty label"},
		"two trailing dots":        {"a.com..", "empty label"},
		"dots inside":              {"a..b", "empty label"},
		"parent folder":            {"../x", "empty label"},
		"escaped":                  {"%2e%2e", `'%'`},
		"leading dash":             {"-a.com", "no '-'"},
		"64 character label":       {label63 + "a.com", "64 characters"},
		"254 characters":           {strings.Repeat(label63+".", 3) + strings.Repeat("b", 62), "254 characters"},
		"two wildcards":            {"*.*.com", `'*'`},
		"wildcard of a TLD":        {"*.com", "at least two labels"},
		"wildcard of an IDN TLD":   {"*.中国", "at least two labels"},
		"wildcard inside":          {"a.*.bücher.example", "IDNA2008"},
		"wide wildcard":            {"＊.example.org", "IDNA2008"},
		"NUL":                      {"a\x00.com", `'\x00'`},
		"NUL in an IDN":            {"ü\x00.com", "IDNA2008"},
		"newline":                  {"a.com\n", `'\n'`},
		"space":                    {" a.com", `' '`},
		"variable":                 {"$host", `'$'`},
		"brace":                    {"{", `'{'`},
		"IPv4":                     {"192.0.2.1", "IP address"},
		"IPv4, wide digits":        {"１９２.0.2.1", "IP address"},
		"IPv4 and dot":             {"192.0.2.1.", "IP address"},
		"IPv6":                     {"2001:DB8::1", "IP address"},
		"IPv6 in brackets":         {"[::1]", `'['`},
		"one label":                {"localhost", "at least two"},
		"one U-label":              {"bücher", "at least two"},
		"URL":                      {"https://example.org/", "host name alone"},
		"port":                     {"example.org:443", `':'`},
		"not UTF-8":                {"\xff.com", "IDNA2008"},
		"punycode cut":             {"xn--bcher-kv.example", "IDNA2008"},
		"punycode of ASCII":        {"xn--abc-.example", "IDNA2008"},
		"punycode of nothing":      {"xn--.example", "IDNA2008"},
		"punycode with '!'":        {"xn--a!.example", "IDNA2008"},
		"punycode of upper case":   {"xn--bcher-2pa.example", "IDNA2008"},
		"punycode of a dot":        {"xn--ab-r13a.example", "IDNA2008"},
		"punycode overflow":        {"xn--99999999.example", "IDNA2008"},
		"slash in an IDN":          {"bü/cher.example", "IDNA2008"},
		"mapped to a slash":        {"a\u2100b.example", "IDNA2008"},
		"mapped to a dot":          {"\u2024\u2024.example", "IDNA2008"},
		"dashes in an IDN":         {"ab--ü.example", "IDNA2008"},
		"underscore in an IDN":     {"_ü.example", "IDNA2008"},
		"joiner out of place":      {"a\u200cb.example", "IDNA2008"},
		"both directions":          {"aمثال.example", "IDNA2008"},
		"right to left and digit":  {"مثال.1a", "IDNA2008"},
		"punycode, not NFC":        {"xn--bucher-xyd.example", "IDNA2008"},
		"punycode of nothing seen": {"xn--a-vca1v.example", "IDNA2008"},
		"U-label too long":         {strings.Repeat("ü", 58) + ".eu", "IDNA2008"},
		"huge":                     {strings.Repeat("ü", 100_000), "want at most 253"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := inventory.Normalize(tt.typed)
			wantError(t, "Normalize()", err, fleet.ErrDomain, tt.text)
			if got != "" {
				t.Errorf("Normalize(%q) = %q, want nothing", tt.typed, got)
			}
		})
	}
}

func FuzzNormalize(f *testing.F) {
	for _, typed := range []string{
		"www.Example.ORG.", "*.bücher.example", "XN--BCHER-KVA.example", "例。中国", "../x", "a..b", "%2e%2e", "xn--ab-r13a.example",
		"192.0.2.1", "\u2100.example", "مثال.إختبار", "\xff.com", "*.*.com", "xn--\u00ad.example", "\u00ad*.a.example",
	} {
		f.Add(typed)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		name, err := inventory.Normalize(typed)
		if err != nil {
			if !errors.Is(err, fleet.ErrDomain) || name != "" {
				t.Fatalf("Normalize(%q) = %q, %v, want ErrDomain and no name", typed, name, err)
			}
			return
		}
		if err := fleet.CheckDomain(name); err != nil {
			t.Fatalf("Normalize(%q) = %q: %v", typed, name, err)
		}
		if again, err := inventory.Normalize(name); err != nil || again != name {
			t.Fatalf("Normalize(%q) = %q, but Normalize(%q) = %q, %v", typed, name, name, again, err)
		}
	})
}
