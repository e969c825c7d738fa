package handlers

import (
	"fmt"
	"strings"
)

// CertServing is how this node's nginx serves certificates, as far as it
// decides whether a change needs a reload.
type CertServing struct {
	OnDemand bool                // files are kept of names that were asked for only
	Static   bool                // one server for each name: certificates are read at a reload
	Listed   bool                // the names are written in the configuration
	Held     map[string][]string // names whose files the operator's configuration loads, with the places
	Wild     map[string]bool     // served wildcards without their "*.": they and the names below are always written; nil: no servers are rendered
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

// need is why a change of one name needs a reload.
type need int

// The needs; the first that any name has is the reason given for all.
const (
	needHeld need = iota
	needStatic
	needListed
	needWild
	needNothing
)

// PlanCerts decides whether nginx has to be reloaded for a change of
// certificates, and why, or why not: when PlanCert asks it for any of the names.
func PlanCerts(s CertServing, c CertChange) CertEffect {
	var names [needNothing + 1][]string
	sort := func(list []string, replaced bool) {
		for _, name := range list {
			n := s.need(name, replaced)
			names[n] = append(names[n], name)
		}
	}
	sort(c.Added, false)
	sort(c.Dropped, false)
	sort(c.Replaced, true)
	for n, list := range names {
		if len(list) > 0 {
			return CertEffect{need(n) != needNothing, s.reason(need(n), list)}
		}
	}
	return CertEffect{false, "nothing changed"}
}

// PlanCert is PlanCerts for one name; replaced says that it was served before
// and will be.
func PlanCert(s CertServing, name string, replaced bool) CertEffect {
	n := s.need(name, replaced)
	return CertEffect{n != needNothing, s.reason(n, []string{name})}
}

func (s CertServing) need(name string, replaced bool) need {
	switch {
	case len(s.Held[name]) > 0:
		return needHeld
	case s.Static:
		return needStatic
	case replaced:
		return needNothing
	case s.Listed:
		return needListed
	case s.wild(name):
		return needWild
	}
	return needNothing
}

func (s CertServing) reason(n need, names []string) string {
	switch n {
	case needHeld:
		return fmt.Sprintf("nginx holds the files of %s in memory (%s)", some(names), s.Held[names[0]][0])
	case needStatic:
		return fmt.Sprintf("static servers read %s at a reload", some(names))
	case needListed:
		return fmt.Sprintf("the list of names changes: %s", some(names))
	case needWild:
		return fmt.Sprintf("wildcards and the names below them are written in the configuration: %s", some(names))
	case needNothing:
	}
	return "nginx reads the files of " + some(names) + " at the next handshake, if at all"
}

// wild reports whether open names do not cover a name that came or went.
func (s CertServing) wild(name string) bool {
	label, parent, _ := strings.Cut(name, ".")
	return s.Wild != nil && (label == "*" || s.Wild[parent])
}

// some names a few of many.
func some(names []string) string {
	const few = 3
	if len(names) <= few {
		return strings.Join(names, " ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], " "), len(names)-few)
}
