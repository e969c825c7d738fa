package agent

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

func TestTidyWaitsForTheGraceTime(t *testing.T) {
	a, b := fleet.Hash{1}, fleet.Hash{2}
	now := time.Unix(1_000_000, 0)
	var x tidy
	steps := []struct {
		after   time.Duration
		orphans []fleet.Hash
		ripe    []fleet.Hash
	}{
		{0, []fleet.Hash{a}, nil},
		{tidyGrace / 2, []fleet.Hash{a, b}, nil},
		{tidyGrace, []fleet.Hash{a, b}, []fleet.Hash{a}},
		{tidyGrace + time.Minute, []fleet.Hash{b}, nil},      // a is named again
		{2 * tidyGrace, []fleet.Hash{a, b}, []fleet.Hash{b}}, // and an orphan anew
	}
	for _, s := range steps {
		if got := x.ripe(s.orphans, now.Add(s.after)); !slices.Equal(got, s.ripe) {
			t.Errorf("ripe() after %v = %v, want %v", s.after, got, s.ripe)
		}
	}
}

// TestOrphansAreRemovedFromConsul replaces a certificate: the one before stays for
// nodes that are behind, and no longer.
func TestOrphansAreRemovedFromConsul(t *testing.T) {
	st := storeAt(t, testkit.SharedConsul(t), "")
	x := tidy{log: hclog.NewNullLogger(), store: st}
	now := time.Now()
	if err := x.look(t.Context(), "", now); err != nil {
		t.Errorf("look() at a new fleet = %v, want nil", err)
	}
	var versions []fleet.Hash
	for range 2 {
		b, err := bundle.FromPEM(testkit.SelfSigned(t, "a.test"))
		if err != nil {
			t.Fatal(err)
		}
		versions = append(versions, bundle.Hash(b))
		put := store.Certificate{Bundle: b, Names: []string{"a.test"}, Entry: fleet.Entry{NotAfter: now.AddDate(0, 0, 30), Source: fleet.SourceImport}}
		if _, err := st.EditInventory(t.Context(), store.Edit{Put: []store.Certificate{put}, Now: now}, "", nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []struct {
		after time.Duration
		gone  bool
	}{{0, false}, {tidyGrace - time.Second, false}, {tidyGrace, true}} {
		if err := x.look(t.Context(), "", now.Add(s.after)); err != nil {
			t.Fatal(err)
		}
		if _, err := st.Bundle(t.Context(), versions[0]); errors.Is(err, store.ErrMissing) != s.gone || err != nil && !s.gone {
			t.Errorf("Bundle() of the one before after %s = %v, want it gone: %t", s.after, err, s.gone)
		}
		if _, err := st.Bundle(t.Context(), versions[1]); err != nil {
			t.Errorf("Bundle() in use after %s = %v", s.after, err)
		}
	}
}
