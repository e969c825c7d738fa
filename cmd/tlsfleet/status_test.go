package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func TestStatusShowsArchives(t *testing.T) {
	t.Parallel()
	now := time.Unix(1800000000, 0)
	tests := map[string]struct {
		archive agent.ArchiveStatus
		want    string
	}{
		"all copied": {
			agent.ArchiveStatus{Archive: fleet.Archive{Name: "disk", Copied: now.Add(-12 * time.Second)}},
			"archive disk: all is copied, seen 12s ago",
		},
		"behind": {
			agent.ArchiveStatus{Archive: fleet.Archive{Name: "disk", Since: now.Add(-125 * time.Second), Pending: 8}, Behind: 125},
			"archive disk: behind for 2m05s, 8 objects to copy",
		},
		"failing": {
			agent.ArchiveStatus{Archive: fleet.Archive{Name: "disk", Since: now, Pending: 1, Err: "no\nroute\x1b"}, Behind: 1},
			"archive disk: behind for 1s, 1 object to copy: no route ",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lines := headline(agent.FleetStatus{Fleet: "edge", Archives: []agent.ArchiveStatus{tt.archive}}, now)
			if !slices.Contains(lines, tt.want) {
				t.Errorf("headline() = %s\nwant the line %q", strings.Join(lines, "\n"), tt.want)
			}
		})
	}
}
