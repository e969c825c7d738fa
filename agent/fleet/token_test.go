package fleet_test

import (
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func TestIsToken(t *testing.T) {
	tests := map[string]bool{
		"": false, "A-z_09": true, strings.Repeat("a", 200): true, strings.Repeat("a", 201): false,
		"..": false, "a/b": false, "a.b": false, "a b": false, "a%2fb": false, "ä": false, "a\n": false, "a\x00": false, "a=": false, "a+": false,
	}
	for s, want := range tests {
		if got := fleet.IsToken(s); got != want {
			t.Errorf("IsToken(%.20q) = %t, want %t", s, got, want)
		}
	}
}
