package handlers

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// KeyLack is a node that is not as far with a key as the next step needs it, and
// in what.
type KeyLack struct {
	Node string `json:"node"`
	Why  string `json:"why"`
}

// String names it in a message.
func (l KeyLack) String() string { return l.Node + " " + l.Why }

// KeysOf is the ids of one kind of keyring in a report; nil if the node has none.
type KeysOf func(fleet.Report) []string

// The kinds of keyrings.
func fleetKeys(r fleet.Report) []string { return r.Keys }

// LeaderKeys are those of the leaders' keyring, which hosts that never lead lack.
func LeaderKeys(r fleet.Report) []string { return r.LeaderKeys }

// FleetKeys are those of the keyring that every node has.
var FleetKeys KeysOf = fleetKeys

// LackKey are the nodes in service that are not known to have a key, so that
// nothing may be sealed with it.
func LackKey(nodes []fleet.Node, reports []fleet.Report, of KeysOf, optional bool, key string) []KeyLack {
	return lacking(nodes, reports, of, optional, func(_ fleet.Report, keys []string) string {
		if !slices.Contains(keys, key) {
			return "lacks the key " + key
		}
		return ""
	})
}

// LackSeal are the nodes in service that seal with another key, so that records
// would go on being sealed with that.
func LackSeal(nodes []fleet.Node, reports []fleet.Report, of KeysOf, optional bool, key string) []KeyLack {
	return lacking(nodes, reports, of, optional, func(r fleet.Report, keys []string) string {
		switch {
		case keys[0] != key:
			return "seals with " + keys[0] + " still"
		case len(r.StaleCopies) > 0:
			return "has copies on disk that are sealed with " + strings.Join(r.StaleCopies, " ")
		}
		return ""
	})
}

// LackEnd are the nodes in service that hold other keys than this one.
func LackEnd(nodes []fleet.Node, reports []fleet.Report, of KeysOf, optional bool, key string) []KeyLack {
	return lacking(nodes, reports, of, optional, func(_ fleet.Report, keys []string) string {
		if !slices.Equal(keys, []string{key}) {
			return "has the keys " + strings.Join(keys, " ") + " still"
		}
		return ""
	})
}

// lacking asks about every node in service. Optional keyrings are not everywhere.
func lacking(nodes []fleet.Node, reports []fleet.Report, of KeysOf, optional bool, why func(fleet.Report, []string) string) []KeyLack {
	var out []KeyLack
	for _, n := range nodes {
		if !n.InService() {
			continue
		}
		i := slices.IndexFunc(reports, func(r fleet.Report) bool { return r.Node == n.Name })
		if i < 0 {
			out = append(out, KeyLack{n.Name, "does not report, so that nobody knows its keys"})
			continue
		}
		keys := of(reports[i])
		switch {
		case len(keys) == 0 && optional:
		case len(keys) == 0:
			out = append(out, KeyLack{n.Name, fmt.Sprintf("does not tell its keys: its version %s is too old", reports[i].Version)})
		default:
			if text := why(reports[i], keys); text != "" {
				out = append(out, KeyLack{n.Name, text})
			}
		}
	}
	return out
}

// DescribeKeys names nodes and what they lack.
func DescribeKeys(lacks []KeyLack) string {
	texts := make([]string, len(lacks))
	for i, l := range lacks {
		texts[i] = l.String()
	}
	return strings.Join(texts, ", ")
}
