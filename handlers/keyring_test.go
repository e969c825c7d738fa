package handlers_test

import (
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/handlers"
)

func TestKeyLacks(t *testing.T) {
	t.Parallel()
	nodes := []fleet.Node{{Name: "a"}, {Name: "b"}, {Name: "gone", Maintenance: true}}
	keys := func(a, b []string) []fleet.Report { return []fleet.Report{{Node: "a", Keys: a}, {Node: "b", Keys: b}} }
	old, added, promoted, end := []string{"o"}, []string{"o", "n"}, []string{"n", "o"}, []string{"n"}
	stale := keys(promoted, promoted)
	stale[1].StaleCopies = []string{"o"}
	leaders := keys(old, old)
	leaders[0].LeaderKeys = old
	tests := map[string]struct {
		ask     func([]fleet.Node, []fleet.Report, handlers.KeysOf, bool, string) []handlers.KeyLack
		reports []fleet.Report
		leaders bool
		want    string
	}{
		"nobody has it":           {handlers.LackKey, keys(old, old), false, "a lacks the key n, b lacks the key n"},
		"one has it":              {handlers.LackKey, keys(added, old), false, "b lacks the key n"},
		"both have it":            {handlers.LackKey, keys(added, promoted), false, ""},
		"one is silent":           {handlers.LackKey, keys(added, added)[:1], false, "b does not report, so that nobody knows its keys"},
		"one is too old":          {handlers.LackKey, keys(added, nil), false, "b does not tell its keys: its version  is too old"},
		"has it, does not seal":   {handlers.LackSeal, keys(added, promoted), false, "a seals with o still"},
		"old copies":              {handlers.LackSeal, stale, false, "b has copies on disk that are sealed with o"},
		"both seal":               {handlers.LackSeal, keys(promoted, end), false, ""},
		"the old one is there":    {handlers.LackEnd, keys(promoted, end), false, "a has the keys n o still"},
		"the end":                 {handlers.LackEnd, keys(end, end), false, ""},
		"leaders: one has none":   {handlers.LackKey, leaders, true, "a lacks the key n"},
		"leaders: one is silent":  {handlers.LackKey, leaders[:1], true, "a lacks the key n, b does not report, so that nobody knows its keys"},
		"leaders: others' at end": {handlers.LackEnd, leaders, true, "a has the keys o still"},
	}
	for name, tt := range tests {
		of := handlers.FleetKeys
		if tt.leaders {
			of = handlers.LeaderKeys
		}
		if got := handlers.DescribeKeys(tt.ask(nodes, tt.reports, of, tt.leaders, "n")); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
