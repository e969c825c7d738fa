package inventory_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

// pool are names of the shard of the tests, of all forms.
var pool = slices.Concat(namesOf(number, 20), []string{
	nameIn(number, "*.w%d.example"), nameIn(number, "a%d.b"), nameIn(number, "%d.a.b.c.d.e"), nameIn(number, "xn--bcher-kva.x%d.xn--p1ai"),
	nameIn(number, "_x-%d.shop.example"), nameIn(number, "*.shop%d.example"), nameIn(number, strings.Repeat("long.", 45)+"x%d"),
})

func anyTime() *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		at := rapid.OneOf(rapid.Int64Range(1, 253402300799), rapid.Int64Range(1_700_000_000, 1_900_000_000)).Draw(t, "unix")
		return time.Unix(at, 0).UTC()
	})
}

func anyEntry() *rapid.Generator[fleet.Entry] {
	return rapid.Custom(func(t *rapid.T) fleet.Entry {
		return fleet.Entry{
			Name: rapid.SampledFrom(pool).Draw(t, "name"), Bundle: fleet.Hash{1, byte(rapid.IntRange(0, 3).Draw(t, "bundle"))},
			NotAfter: anyTime().Draw(t, "not after"), Changed: anyTime().Draw(t, "changed"),
			Source: rapid.SampledFrom([]fleet.Source{fleet.SourceImport, fleet.SourceACME}).Draw(t, "source"),
			Issuer: rapid.OneOf(rapid.SampledFrom([]string{"", "R11", "E7"}), rapid.String()).Draw(t, "issuer"),
		}
	})
}

// shardMachine changes a shard and keeps beside it what it has to hold.
type shardMachine struct {
	shard inventory.Shard
	want  map[string]fleet.Entry
}

func (m *shardMachine) follow(t *rapid.T, s inventory.Shard, err error) {
	if err != nil {
		t.Fatal(err)
	}
	m.shard = s
}

func (m *shardMachine) put(t *rapid.T) {
	byName := func(e fleet.Entry) string { return e.Name }
	entries := rapid.SliceOfNDistinct(anyEntry(), 0, 5, byName).Draw(t, "entries")
	s, err := m.shard.Put(m.shard.Epoch+1, entries...)
	m.follow(t, s, err)
	for _, e := range entries {
		e.Issuer = m.entry(t, e.Name).Issuer
		m.want[e.Name] = e
	}
}

func (m *shardMachine) entry(t *rapid.T, name string) fleet.Entry {
	e, found := m.shard.Lookup(name)
	if !found {
		t.Fatalf("Lookup(%s) found nothing", name)
	}
	return e
}

func (m *shardMachine) remove(t *rapid.T) {
	if len(m.shard.Entries) == 0 {
		t.Skip("no name")
	}
	name := rapid.SampledFrom(m.shard.Entries).Draw(t, "removed").Name
	now := anyTime().Draw(t, "now")
	s, err := m.shard.Remove(m.shard.Epoch+1, now, name)
	m.follow(t, s, err)
	if !m.want[name].Removed {
		m.want[name] = fleet.Entry{Name: name, Removed: true, Changed: now}
	}
}

func (m *shardMachine) prune(t *rapid.T) {
	before := anyTime().Draw(t, "before")
	m.shard = m.shard.Prune(m.shard.Epoch+1, before)
	for name, e := range m.want {
		if e.Removed && e.Changed.Before(before) {
			delete(m.want, name)
		}
	}
}

// check compares the shard with the model, and what is read from its bytes
// with the shard.
func (m *shardMachine) check(t *rapid.T) {
	if len(m.shard.Entries) != len(m.want) {
		t.Fatalf("the shard has %d entries, want %d", len(m.shard.Entries), len(m.want))
	}
	live := 0
	for i, e := range m.shard.Entries {
		if e != m.want[e.Name] || i > 0 && m.shard.Entries[i-1].Name >= e.Name {
			t.Fatalf("entry %d is %+v, want %+v in order", i, e, m.want[e.Name])
		}
		if !e.Removed {
			live++
		}
	}
	if m.shard.Live() != live {
		t.Fatalf("Live() = %d, want %d", m.shard.Live(), live)
	}
	if m.shard.Epoch == 0 {
		return
	}
	b, err := inventory.EncodeShard(m.shard)
	if err != nil {
		t.Fatal(err)
	}
	got, err := inventory.DecodeShard(number, b)
	if err != nil || got.Epoch != m.shard.Epoch || !slices.Equal(got.Entries, m.shard.Entries) {
		t.Fatalf("DecodeShard(EncodeShard(s)) = %+v, %v, want %+v", got, err, m.shard)
	}
	rebuilt := inventory.Shard{Number: number, Epoch: m.shard.Epoch, Entries: slices.Clone(m.shard.Entries)}
	if again, err := inventory.EncodeShard(rebuilt); err != nil || !bytes.Equal(again, b) {
		t.Fatalf("EncodeShard(same state) = %x, %v, want %x", again, err, b)
	}
}

func TestShardHoldsWhatWasPut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &shardMachine{shard: inventory.Shard{Number: number}, want: map[string]fleet.Entry{}}
		t.Repeat(map[string]func(*rapid.T){"": m.check, "put": m.put, "remove": m.remove, "prune": m.prune})
	})
}

// apply does what a node does with a diff, to a shard.
func apply(t *rapid.T, s inventory.Shard, changes []inventory.Change) inventory.Shard {
	for _, c := range changes {
		var err error
		if c.After.Removed {
			if c.Before.Name == "" || c.Before.Removed {
				back := entry(c.Name)
				if s, err = s.Put(s.Epoch+1, back); err != nil {
					t.Fatal(err)
				}
			}
			s, err = s.Remove(s.Epoch+1, c.After.Changed, c.Name)
		} else {
			s, err = s.Put(s.Epoch+1, c.After)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestDiffAppliedGivesAfter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &shardMachine{shard: inventory.Shard{Number: number}, want: map[string]fleet.Entry{}}
		before := m.shard
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				changes := inventory.Diff(before, m.shard)
				for _, c := range changes {
					if was, _ := before.Lookup(c.Name); was != c.Before || c.After.Name != c.Name {
						t.Fatalf("Diff() has %+v, want Before %+v", c, was)
					}
				}
				if got := apply(t, before, changes); !slices.Equal(got.Entries, m.shard.Entries) {
					t.Fatalf("before and its diff = %+v, want %+v", got.Entries, m.shard.Entries)
				}
				if missing := inventory.Missing(before, m.shard); missing != nil {
					t.Fatalf("Missing() = %v, want none", missing)
				}
			},
			"put": m.put, "remove": m.remove,
			"mark": func(*rapid.T) { before = m.shard },
		})
	})
}

func TestHeadOfAnyEpochsIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := inventory.Head{Epoch: rapid.Uint64Range(1, inventory.MaxEpoch).Draw(t, "epoch")}
		spread := rapid.Uint64Range(0, h.Epoch).Draw(t, "spread")
		for n := range h.Shards {
			h.Shards[n] = h.Epoch - rapid.Uint64Range(0, spread).Draw(t, "age")
		}
		b, err := inventory.EncodeHead(h)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := inventory.DecodeHead(b); err != nil || got != h {
			t.Fatalf("DecodeHead(EncodeHead(h)) = %v, want the head back", err)
		}
	})
}
