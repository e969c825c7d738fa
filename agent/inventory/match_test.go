package inventory_test

import (
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

func TestMatch(t *testing.T) {
	has := map[string]bool{"example.org": true, "*.example.org": true, "www.example.org": true, "*.b.example.org": true, "*.": true, "*": true}
	tests := map[string]struct{ name, want string }{
		"exact":                  {"example.org", "example.org"},
		"exact before wildcard":  {"www.example.org", "www.example.org"},
		"wildcard":               {"a.example.org", "*.example.org"},
		"wildcard is one label":  {"x.a.example.org", ""},
		"nearest wildcard":       {"a.b.example.org", "*.b.example.org"},
		"child with a wildcard":  {"b.example.org", "*.example.org"},
		"wildcard itself":        {"*.example.org", "*.example.org"},
		"no wildcard of an apex": {"other.org", ""},
		"empty first label":      {".example.org", ""},
		"empty":                  {"", ""},
		"dot":                    {".", ""},
		"one label":              {"org", ""},
		"one label and dot":      {"org.", "*."},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, found := inventory.Match(tt.name, func(name string) bool { return has[name] })
			if got != tt.want || found != (tt.want != "") {
				t.Errorf("Match(%q) = %q, %t, want %q", tt.name, got, found, tt.want)
			}
		})
	}
}
