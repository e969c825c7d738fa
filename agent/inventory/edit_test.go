package inventory_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

func TestPutAddsAndReplaces(t *testing.T) {
	names := namesOf(number, 3)
	s := shardOf(t, names[2], names[0])
	renewed := entry(names[0])
	renewed.Bundle, renewed.NotAfter, renewed.Changed = fleet.Hash{1}, day.AddDate(1, 0, 0), day.AddDate(0, 2, 0)
	got := put(t, s, 5, renewed, entry(names[1]))
	want := inventory.Shard{Number: number, Epoch: 5, Entries: []fleet.Entry{renewed, entry(names[1]), entry(names[2])}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Put() = %+v, want %+v", got, want)
	}
	if was := shardOf(t, names[0], names[2]); !reflect.DeepEqual(s, was) {
		t.Errorf("Put() changed its shard to %+v, want %+v", s, was)
	}
}

func TestPutCutsTimesAndIssuers(t *testing.T) {
	e := entry(namesOf(number, 1)[0])
	e.Changed = time.Date(2026, 3, 1, 14, 0, 0, 999, time.FixedZone("", 7200))
	e.NotAfter = e.NotAfter.Add(time.Millisecond).Local()
	e.Issuer = "a\x1b[31m\n\xff" + strings.Repeat("ü", 100)
	got := put(t, inventory.Shard{Number: number}, 1, e).Entries[0]
	want := entry(e.Name)
	want.Issuer = "a?[31m??" + strings.Repeat("ü", 60)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Put() = %+v, want %+v", got, want)
	}
	e.Issuer = strings.Repeat("x", 127) + "ü"
	if got := put(t, inventory.Shard{Number: number}, 1, e).Entries[0].Issuer; got != strings.Repeat("x", 127) {
		t.Errorf("Put() has issuer %q, want it cut between characters", got)
	}
}

func TestPutRefuses(t *testing.T) {
	names := namesOf(number, 2)
	s := shardOf(t, names[0])
	with := func(change func(*fleet.Entry)) []fleet.Entry {
		e := entry(names[1])
		change(&e)
		return []fleet.Entry{e}
	}
	tests := map[string]struct {
		epoch   uint64
		entries []fleet.Entry
		want    error
		text    string
	}{
		"same epoch":     {1, nil, inventory.ErrEpoch, "from 1 to 1"},
		"epoch 0":        {0, nil, inventory.ErrEpoch, "from 1 to 0"},
		"beyond epochs":  {inventory.MaxEpoch + 1, nil, inventory.ErrEpoch, ""},
		"other shard":    {2, []fleet.Entry{entry(namesOf(number+1, 1)[0])}, inventory.ErrEntry, "belongs to shard 8"},
		"twice":          {2, []fleet.Entry{entry(names[1]), entry(names[1])}, inventory.ErrEntry, "given twice"},
		"tombstone":      {2, with(func(e *fleet.Entry) { e.Removed = true }), inventory.ErrEntry, "Remove"},
		"bad name":       {2, with(func(e *fleet.Entry) { e.Name = "../x" }), fleet.ErrDomain, "empty label"},
		"upper case":     {2, with(func(e *fleet.Entry) { e.Name = strings.ToUpper(e.Name) }), inventory.ErrEntry, ""},
		"no bundle":      {2, with(func(e *fleet.Entry) { e.Bundle = fleet.Hash{} }), inventory.ErrEntry, "no bundle"},
		"no end":         {2, with(func(e *fleet.Entry) { e.NotAfter = time.Time{} }), inventory.ErrEntry, "not after"},
		"end in 10000":   {2, with(func(e *fleet.Entry) { e.NotAfter = day.AddDate(8000, 0, 0) }), inventory.ErrEntry, "out of range"},
		"never changed":  {2, with(func(e *fleet.Entry) { e.Changed = time.Time{} }), inventory.ErrEntry, "changed"},
		"no source":      {2, with(func(e *fleet.Entry) { e.Source = "" }), inventory.ErrEntry, "source"},
		"unknown source": {2, with(func(e *fleet.Entry) { e.Source = "magic" }), inventory.ErrEntry, "magic"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := s.Put(tt.epoch, tt.entries...)
			wantError(t, "Put()", err, tt.want, tt.text)
			if got.Epoch != 0 || got.Entries != nil {
				t.Errorf("Put() = %+v with an error, want no shard", got)
			}
		})
	}
}

func TestRemoveLeavesTombstones(t *testing.T) {
	names := namesOf(number, 3)
	s := shardOf(t, names...)
	once := remove(t, s, 2, day.Add(time.Hour+1), names[1])
	want := fleet.Entry{Name: names[1], Removed: true, Changed: day.Add(time.Hour)}
	if got, found := once.Lookup(names[1]); !found || got != want {
		t.Errorf("Lookup(removed) = %+v, %t, want %+v", got, found, want)
	}
	if once.Live() != 2 || s.Live() != 3 {
		t.Errorf("Live() = %d after %d, want 2 after 3", once.Live(), s.Live())
	}
	twice := remove(t, once, 3, day.AddDate(0, 1, 0), names[1], names[2])
	if got, _ := twice.Lookup(names[1]); got != want || twice.Live() != 1 {
		t.Errorf("Lookup(removed twice) = %+v, want the first tombstone %+v", got, want)
	}
	if back := put(t, twice, 4, entry(names[1])); back.Live() != 2 {
		t.Errorf("Live() = %d after Put of a removed name, want 2", back.Live())
	}
}

func TestRemoveRefuses(t *testing.T) {
	names := namesOf(number, 2)
	s := shardOf(t, names[0])
	tests := map[string]struct {
		epoch uint64
		now   time.Time
		names []string
		want  error
	}{
		"same epoch":       {1, day, names[:1], inventory.ErrEpoch},
		"unknown name":     {2, day, names[1:], inventory.ErrUnknown},
		"one unknown name": {2, day, names, inventory.ErrUnknown},
		"no time":          {2, time.Time{}, names[:1], inventory.ErrEntry},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := s.Remove(tt.epoch, tt.now, tt.names...)
			wantError(t, "Remove()", err, tt.want, "remove from shard 7")
			if got.Epoch != 0 || s.Live() != 1 {
				t.Errorf("Remove() = %+v with an error, want no shard and no change", got)
			}
		})
	}
}

func TestPruneDropsOldTombstonesOnly(t *testing.T) {
	names := namesOf(number, 4)
	s := remove(t, shardOf(t, names...), 2, day.Add(time.Hour), names[0])
	s = remove(t, s, 3, day.Add(2*time.Hour), names[2])
	got := s.Prune(4, day.Add(2*time.Hour))
	want := inventory.Shard{Number: number, Epoch: 4, Entries: s.Entries[1:]}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Prune() = %+v, want %+v", got, want)
	}
	if len(s.Entries) != 4 || !s.Entries[0].Removed {
		t.Errorf("Prune() changed its shard to %+v", s)
	}
}
