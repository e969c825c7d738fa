package handlers

import (
	"cmp"
	"maps"
	"slices"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

// Effect is what a change asks of a node.
type Effect string

// The effects, the greatest first.
const (
	EffectReload  Effect = "reload"  // files, and a reload of nginx
	EffectFiles   Effect = "files"   // files only
	EffectNothing Effect = "nothing" // the node is as it should be
)

// NameChange is a name whose entry in the inventory is new to a node, or whose
// files are not as the inventory says.
type NameChange struct {
	Name    string
	Served  fleet.Hash  // on disk; zero: none
	Known   fleet.Entry // as the node followed it so far; zero: never
	Wanted  fleet.Entry
	Waiting bool // the node knows it already and has not got there
}

// CompareShard lists what a node with these files has to do to get from one
// version of a shard to another; of how it serves only OnDemand counts. It takes nothing from a version that
// lost names without a tombstone.
func CompareShard(s CertServing, live map[string]fleet.Hash, before, after inventory.Shard) (changes []NameChange, lost []string) {
	if lost = inventory.Missing(before, after); len(lost) > 0 {
		after = before
	}
	moved := map[string]bool{}
	for _, c := range inventory.Diff(before, after) {
		moved[c.Name] = true
	}
	for _, e := range after.Entries {
		have, served := live[e.Name]
		done := served != e.Removed && (e.Removed || have == e.Bundle) || s.OnDemand && !served
		if done && !moved[e.Name] {
			continue
		}
		known, _ := before.Lookup(e.Name)
		changes = append(changes, NameChange{Name: e.Name, Served: have, Known: known, Wanted: e, Waiting: !moved[e.Name]})
	}
	return changes, lost
}

// NamePreview is what one change would do on a node.
type NamePreview struct {
	NameChange
	Effect Effect
	Reason string
}

// PreviewCerts says for each change what PlanCerts would decide for it, sorted
// by effect, the greatest first, then by name.
func PreviewCerts(s CertServing, changes []NameChange) []NamePreview {
	all := make([]NamePreview, 0, len(changes))
	for _, c := range changes {
		effect, reason := s.preview(c)
		all = append(all, NamePreview{c, effect, reason})
	}
	order := []Effect{EffectReload, EffectFiles, EffectNothing}
	slices.SortFunc(all, func(a, b NamePreview) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.Effect), slices.Index(order, b.Effect)), cmp.Compare(a.Name, b.Name))
	})
	return all
}

func (s CertServing) preview(c NameChange) (Effect, string) {
	served := !c.Served.IsZero()
	switch {
	case c.Wanted.Removed && !served:
		return EffectNothing, "it is not served here"
	case !c.Wanted.Removed && c.Served == c.Wanted.Bundle:
		return EffectNothing, "its files are here"
	case s.OnDemand && !served:
		return EffectNothing, "its files come when it is asked for"
	case c.Wanted.Removed && c.Waiting && len(s.Held[c.Name]) > 0:
		return EffectNothing, "its files stay while nginx needs them to start (" + s.Held[c.Name][0] + ")"
	case c.Wanted.Removed && c.Waiting:
		return EffectFiles, "its files go now that nothing names them"
	}
	e := PlanCert(s, c.Name, served && !c.Wanted.Removed)
	if e.Reload {
		return EffectReload, e.Reason
	}
	return EffectFiles, e.Reason
}

// AfterChanges is what is served once the changes are done; of how it is served
// only Held and OnDemand count.
func AfterChanges(s CertServing, live map[string]fleet.Hash, changes []NameChange) map[string]fleet.Hash {
	after := make(map[string]fleet.Hash, len(live)+len(changes))
	maps.Copy(after, live)
	for _, c := range changes {
		switch {
		case c.Served.IsZero() && (s.OnDemand || c.Wanted.Removed):
		case !c.Wanted.Removed:
			after[c.Name] = c.Wanted.Bundle
		case len(s.Held[c.Name]) == 0:
			delete(after, c.Name)
		}
	}
	return after
}
