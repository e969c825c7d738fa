package dns01

import "testing"

func TestKind(t *testing.T) {
	t.Parallel()
	zones := Zones{
		{Name: "all", Domains: []string{"example.org", "example.net"}},
		{Name: "below", Domains: []string{"corp.example.org"}, WildcardsOnly: true},
	}
	tests := map[string]struct {
		name     string
		wildcard bool
		want     string
	}{
		"the domain":          {"example.org", false, "dns-01"},
		"its wildcard":        {"example.org", true, "dns-01"},
		"below it":            {"a.b.example.net", false, "dns-01"},
		"longest wins":        {"www.corp.example.org", false, "http-01"},
		"longest, a wildcard": {"corp.example.org", true, "dns-01"},
		"ends alike":          {"anexample.org", true, "http-01"},
		"above it":            {"org", true, "http-01"},
		"elsewhere":           {"example.com", false, "http-01"},
		"elsewhere, wildcard": {"example.com", true, "http-01"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := zones.Kind(tt.name, tt.wildcard); got != tt.want {
				t.Errorf("Kind(%s, %v) = %s, want %s", tt.name, tt.wildcard, got, tt.want)
			}
		})
	}
	if got := append(zones, Zone{Domains: []string{AllNames}}).Kind("example.com", true); got != "dns-01" {
		t.Errorf("Kind() with a zone for all names = %s, want dns-01", got)
	}
}
