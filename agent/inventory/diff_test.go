package inventory_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

func TestDiff(t *testing.T) {
	names := namesOf(number, 5)
	before := shardOf(t, names[:4]...)
	renewed := entry(names[1])
	renewed.Bundle = fleet.Hash{1}
	after := remove(t, put(t, before, 2, renewed, entry(names[4]), entry(names[0])), 3, day.Add(time.Hour), names[2])
	tombstone := fleet.Entry{Name: names[2], Removed: true, Changed: day.Add(time.Hour)}
	want := []inventory.Change{
		{Name: names[1], Before: entry(names[1]), After: renewed},
		{Name: names[2], Before: entry(names[2]), After: tombstone},
		{Name: names[4], After: entry(names[4])},
	}
	if got := inventory.Diff(before, after); !reflect.DeepEqual(got, want) {
		t.Errorf("Diff() = %+v, want %+v", got, want)
	}
	if got := inventory.Diff(after, after); got != nil {
		t.Errorf("Diff(same) = %+v, want none", got)
	}
}

func TestDiffComparesInstants(t *testing.T) {
	s := shardOf(t, namesOf(number, 1)...)
	other := inventory.Shard{Number: number, Epoch: 2, Entries: slices.Clone(s.Entries)}
	other.Entries[0].NotAfter = other.Entries[0].NotAfter.In(time.FixedZone("", 3600))
	if got := inventory.Diff(s, other); got != nil {
		t.Errorf("Diff(other zone) = %+v, want none", got)
	}
	for name, change := range map[string]func(*fleet.Entry){
		"end": func(e *fleet.Entry) { e.NotAfter = e.NotAfter.Add(1) }, "changed": func(e *fleet.Entry) { e.Changed = e.Changed.Add(1) },
		"issuer": func(e *fleet.Entry) { e.Issuer = "x" }, "source": func(e *fleet.Entry) { e.Source = fleet.SourceImport },
	} {
		other.Entries = slices.Clone(s.Entries)
		change(&other.Entries[0])
		if got := inventory.Diff(s, other); len(got) != 1 {
			t.Errorf("Diff(other %s) = %+v, want one change", name, got)
		}
	}
}

// TestMissingIsNotDeleted: a shard that lost entries takes nothing away.
func TestMissingIsNotDeleted(t *testing.T) {
	names := namesOf(number, 4)
	before := remove(t, shardOf(t, names...), 2, day, names[3])
	after := inventory.Shard{Number: number, Epoch: 3, Entries: before.Entries[1:2]}
	if got := inventory.Diff(before, after); got != nil {
		t.Errorf("Diff() = %+v, want none", got)
	}
	if got := inventory.Missing(before, after); !slices.Equal(got, []string{names[0], names[2]}) {
		t.Errorf("Missing() = %v, want the live names %v", got, []string{names[0], names[2]})
	}
	if got := inventory.Missing(before, before); got != nil {
		t.Errorf("Missing(same) = %v, want none", got)
	}
}
