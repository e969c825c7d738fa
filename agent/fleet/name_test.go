package fleet_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func TestCheckName(t *testing.T) {
	tests := map[string]struct {
		name string
		ok   bool
	}{
		"letter":           {"a", true},
		"digit first":      {"9-node", true},
		"all kinds":        {"Node-1.example_x", true},
		"63 bytes":         {strings.Repeat("a", 63), true},
		"empty":            {"", false},
		"64 bytes":         {strings.Repeat("a", 64), false},
		"dot":              {".", false},
		"parent folder":    {"..", false},
		"hidden file":      {".node", false},
		"dash first":       {"-node", false},
		"underscore first": {"_node", false},
		"slash":            {"a/b", false},
		"backslash":        {`a\b`, false},
		"space":            {"a b", false},
		"newline":          {"a\n", false},
		"NUL":              {"a\x00", false},
		"not ASCII":        {"nöde", false},
		"quote":            {`a"`, false},
		"shell":            {"a$b", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := fleet.CheckName(tt.name)
			if tt.ok && err != nil || !tt.ok && !errors.Is(err, fleet.ErrName) {
				t.Errorf("CheckName(%q) = %v, want ok %t", tt.name, err, tt.ok)
			}
		})
	}
}
