package store

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// kind is the right's resource as the rules of a policy write it.
func (r Right) kind() string {
	if r.Prefix {
		return r.Resource + "_prefix"
	}
	return r.Resource
}

// RulesHCL writes rights as the rules of a Consul ACL policy.
func RulesHCL(rights []Right) string {
	var b strings.Builder
	for _, r := range sorted(rights) {
		fmt.Fprintf(&b, "%s %q { policy = %q }\n", r.kind(), r.Segment, r.Policy)
	}
	return b.String()
}

// RulesJSON is RulesHCL in JSON, which Consul takes as well.
func RulesJSON(rights []Right) ([]byte, error) {
	rules := map[string]map[string]map[string]string{}
	for _, r := range rights {
		if rules[r.kind()] == nil {
			rules[r.kind()] = map[string]map[string]string{}
		}
		rules[r.kind()][r.Segment] = map[string]string{"policy": r.Policy}
	}
	text, err := json.MarshalIndent(rules, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write rules: %w", err)
	}
	return append(text, '\n'), nil
}

// sorted has the keys first, as they are what matters most.
func sorted(rights []Right) []Right {
	rank := []string{"key", "session", "service", "node", "agent", "event"}
	out := slices.Clone(rights)
	slices.SortStableFunc(out, func(a, b Right) int {
		if d := slices.Index(rank, a.Resource) - slices.Index(rank, b.Resource); d != 0 {
			return d
		}
		return strings.Compare(a.Segment, b.Segment)
	})
	return out
}
