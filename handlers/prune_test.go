package handlers

import (
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func TestPruneBlocked(t *testing.T) {
	two := []fleet.Node{{Name: "a", Healthy: true}, {Name: "b"}}
	drained := []fleet.Node{{Name: "a", Healthy: true}, {Name: "b", Maintenance: true}}
	a, b := fleet.Report{Node: "a", Inventory: 7}, fleet.Report{Node: "b", Inventory: 7}
	behind := fleet.Report{Node: "b", Inventory: 6}
	held := fleet.Report{Node: "b", Inventory: 7, Problems: []fleet.Problem{{Code: "certificates-held"}}}
	tests := map[string]struct {
		nodes   []fleet.Node
		reports []fleet.Report
		want    string
	}{
		"all followed":              {two, []fleet.Report{a, b}, ""},
		"one behind":                {two, []fleet.Report{a, behind}, "b follows epoch 6, not 7"},
		"one silent":                {two, []fleet.Report{a}, "b does not report"},
		"one drained":               {drained, []fleet.Report{a}, ""},
		"one drained and behind":    {drained, []fleet.Report{a, behind}, ""},
		"files of a removed name":   {two, []fleet.Report{a, held}, "b still has files"},
		"no node at all":            {nil, nil, "no node"},
		"a report without its node": {two[:1], []fleet.Report{a, behind}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := PruneBlocked(7, tt.nodes, tt.reports)
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("PruneBlocked() = %q, want %q", got, tt.want)
			}
		})
	}
}
