package handlers

import (
	"fmt"
	"strings"
)

// CertServing is how this node's nginx serves certificates, as far as it
// decides whether a change needs a reload.
type CertServing struct {
	Static bool                // one server for each name: certificates are read at a reload
	Listed bool                // the names are written in the configuration
	Held   map[string][]string // names whose files the operator's configuration loads, with the places
	Wild   map[string]bool     // served wildcards without their "*.": they and the names below are always written; nil: no servers are rendered
}

// CertChange is what changed under live/ since the last release.
type CertChange struct {
	Added, Replaced, Dropped []string
}

// CertEffect is what a change needs besides the files.
type CertEffect struct {
	Reload bool
	Reason string
}

// PlanCerts decides whether nginx has to be reloaded for a change of
// certificates, and why, or why not.
func PlanCerts(s CertServing, c CertChange) CertEffect {
	changed := append(append(append([]string(nil), c.Added...), c.Replaced...), c.Dropped...)
	for _, name := range changed {
		if places := s.Held[name]; len(places) > 0 {
			return CertEffect{true, fmt.Sprintf("nginx holds the files of %s in memory (%s)", name, places[0])}
		}
	}
	listed := len(c.Added) + len(c.Dropped)
	switch {
	case len(changed) == 0:
		return CertEffect{false, "nothing changed"}
	case s.Static:
		return CertEffect{true, fmt.Sprintf("static servers read %s at a reload", some(changed))}
	case s.Listed && listed > 0:
		return CertEffect{true, fmt.Sprintf("the list of names changes: %s", some(append(append([]string(nil), c.Added...), c.Dropped...)))}
	case wild(s, c) != "":
		return CertEffect{true, fmt.Sprintf("wildcards and the names below them are written in the configuration: %s", wild(s, c))}
	default:
		return CertEffect{false, "nginx reads the files of " + some(changed) + " at the next handshake, if at all"}
	}
}

// wild is a name that came or went and that open names do not cover.
func wild(s CertServing, c CertChange) string {
	if s.Wild == nil {
		return ""
	}
	for _, name := range append(append([]string(nil), c.Added...), c.Dropped...) {
		label, parent, _ := strings.Cut(name, ".")
		if label == "*" || s.Wild[parent] {
			return name
		}
	}
	return ""
}

// some names a few of many.
func some(names []string) string {
	const few = 3
	if len(names) <= few {
		return strings.Join(names, " ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], " "), len(names)-few)
}
