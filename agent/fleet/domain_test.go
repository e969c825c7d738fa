package fleet_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func TestCheckDomain(t *testing.T) {
	label63 := strings.Repeat("a", 63)
	name253 := strings.Repeat(label63+".", 3) + strings.Repeat("b", 61)
	tests := map[string]struct {
		name string
		text string // in the error; empty if the name is accepted
	}{
		"two labels":               {"a.b", ""},
		"digits and dash":          {"9-a.x1.example", ""},
		"underscore":               {"_acme-challenge.a_b.example_", ""},
		"A-labels":                 {"xn--bcher-kva.xn--p1ai", ""},
		"A-label, form only":       {"xn--0.example", ""},
		"dashes 3 and 4":           {"r3---sn.example", ""},
		"numbers, but not last":    {"1.2.3.example", ""},
		"last begins with a digit": {"a.4d", ""},
		"wildcard":                 {"*.example.org", ""},
		"63 character label":       {label63 + ".org", ""},
		"253 characters":           {name253, ""},

		"empty":               {"", "is empty"},
		"one label":           {"localhost", "one label"},
		"one label of 64":     {label63 + "a", "64 characters"},
		"dot":                 {".", "empty label"},
		"two dots":            {"..", "empty label"},
		"dots inside":         {"a..b", "empty label"},
		"leading dot":         {".a.b", "empty label"},
		"trailing dot":        {"a.b.", "empty label"},
		"parent folder":       {"../x", "empty label"},
		"slash":               {"a.b/c", `'/'`},
		"backslash":           {`a.b\c`, `'\\'`},
		"escaped":             {"%2e%2e", `'%'`},
		"leading dash":        {"-a.com", "no '-'"},
		"trailing dash":       {"a-.com", "no '-'"},
		"dash alone":          {"-.com", "no '-'"},
		"dash in last":        {"a.-com", "no '-'"},
		"bare xn--":           {"xn--.com", "no '-'"},
		"64 character label":  {label63 + "a.org", "64 characters"},
		"254 characters":      {name253 + "b", "254 characters"},
		"huge":                {strings.Repeat("a.", 100_000), "200000 characters"},
		"upper case":          {"A.com", `'A'`},
		"U-label":             {"bücher.example", "want a-z"},
		"not UTF-8":           {"\xff.com", "want a-z"},
		"two wildcards":       {"*.*.com", `'*'`},
		"wildcard of a TLD":   {"*.com", "top-level domain"},
		"wildcard alone":      {"*", `'*'`},
		"wildcard and dot":    {"*.", "empty label"},
		"wildcard inside":     {"a.*.com", `'*'`},
		"partial wildcard":    {"w*.a.com", `'*'`},
		"wildcard of a digit": {"*.1.2", "number 2"},
		"NUL":                 {"a\x00.com", `'\x00'`},
		"newline":             {"a.com\n", `'\n'`},
		"variable":            {"$host", `'$'`},
		"brace":               {"{", `'{'`},
		"semicolon":           {"a.com;", `';'`},
		"space":               {"a .com", `' '`},
		"port":                {"a.com:443", `':'`},
		"IPv4":                {"192.0.2.1", "IP address"},
		"IPv4 in short":       {"127.1", "number 1"},
		"IPv4, out of range":  {"1.2.3.256", "number 256"},
		"IPv6":                {"2001:db8::1", "IP address"},
		"IPv6 in brackets":    {"[2001:db8::1]", `'['`},
		"IPv6 with zone":      {"fe80::1%eth0", "IP address"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := fleet.CheckDomain(tt.name)
			if tt.text == "" {
				if err != nil {
					t.Errorf("CheckDomain(%q) = %v, want nil", tt.name, err)
				}
				return
			}
			if !errors.Is(err, fleet.ErrDomain) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("CheckDomain(%q) = %v, want ErrDomain with %q", tt.name, err, tt.text)
			}
			if err != nil && len(err.Error()) > 1000 {
				t.Errorf("CheckDomain() has an error of %d bytes, want a short one", len(err.Error()))
			}
		})
	}
}
