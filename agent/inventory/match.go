package inventory

import (
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Match finds which of the names that has knows serves name, which is in
// stored form: itself, else the wildcard that stands for its first label and
// for no more than that (RFC 9525, section 6.3).
func Match(name string, has func(string) bool) (string, bool) {
	if has(name) {
		return name, true
	}
	label, parent, found := strings.Cut(name, ".")
	if wildcard := fleet.Wildcard + parent; found && label != "" && has(wildcard) {
		return wildcard, true
	}
	return "", false
}
