package agent

import (
	"slices"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

func TestArchivesLackAKeyUntilTheLeaderSaysOtherwise(t *testing.T) {
	told := func(s fleet.Sealing) *fleet.Sealing { return &s }
	for name, c := range map[string]struct {
		told    *fleet.Sealing
		leaders bool
		want    string
	}{
		"nothing told":           {nil, false, "the leader"},
		"under way":              {told(fleet.Sealing{Key: "new"}), false, "the leader"},
		"of the key before":      {told(fleet.Sealing{Key: "old", Done: true}), false, "the leader"},
		"of the leaders' before": {told(fleet.Sealing{Key: "new", Leaders: "old", Done: true}), true, "the leader"},
		"one behind":             {told(fleet.Sealing{Key: "new", Done: true, Behind: []string{"disk"}}), false, "archive disk"},
		"unread records":         {told(fleet.Sealing{Key: "new", Done: true, Bad: 2}), false, "the leader"},
		"done":                   {told(fleet.Sealing{Key: "new", Leaders: "other", Done: true}), false, ""},
		"done for the leaders":   {told(fleet.Sealing{Key: "other", Leaders: "new", Done: true}), true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if lacks := archivesLack(c.told, "new", c.leaders); len(lacks) > 0 {
				got = lacks[0].Node
			}
			if got != c.want {
				t.Errorf("archivesLack() names %q, want %q", got, c.want)
			}
		})
	}
}

// TestResealingTellsOfArchivesAtOnce has a leader that has just sealed all records
// anew, and an archive that nobody has copied to since.
func TestResealingTellsOfArchivesAtOnce(t *testing.T) {
	t.Parallel()
	x := newCopied(t)
	x.fill(t, "a.test")
	cfg := x.cfg
	cfg.Leader.Eligible, cfg.Archives = true, []config.Archive{{Name: "disk", Directory: x.dir}}
	probs := newProblems(func() {})
	all, err := openArchives(cfg, x.store, probs, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	defer all.close()
	v := &view{changed: func() {}}
	r := &resealing{log: hclog.NewNullLogger(), store: x.store, view: v, problems: probs, archives: all}
	key := x.store.Keys()[0]
	if err := r.reseal(t.Context(), holdLock(t, x.store), store.SealState{Key: key}); err != nil {
		t.Fatal(err)
	}
	if got := v.sealingNow(); !got.Done || got.Key != key || !slices.Equal(got.Behind, []string{"disk"}) {
		t.Errorf("reseal() tells %+v, want it done with disk behind: whoever reads it takes the old key away", got)
	}
}
