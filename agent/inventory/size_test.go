package inventory_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

// Sizes that leave one change at 100,000 names within 12 KB: head, shard and
// bundle, sealed and in base64.
const (
	headBudget  = 2500
	entryBudget = 50
)

// worlds are inventories of 100,000 names as fleets have them.
var worlds = map[string]func(r *rand.Rand, i int) fleet.Entry{
	// domains of customers, which have nothing in common
	"customers": func(r *rand.Rand, _ int) fleet.Entry {
		tld := []string{".com", ".com", ".com", ".de", ".org", ".co.uk", ".shop"}[r.IntN(7)]
		return random(r, letters(r, 18-len(tld))+tld)
	},
	// names under one domain
	"hosted": func(r *rand.Rand, i int) fleet.Entry { return random(r, fmt.Sprintf("u%05d.blogs.example", i)) },
}

func letters(r *rand.Rand, n int) string {
	var b strings.Builder
	for range n {
		b.WriteByte(byte('a' + r.IntN(26)))
	}
	return b.String()
}

// random is an entry whose certificate was renewed at some time in 60 days,
// for 90 days from about then.
func random(r *rand.Rand, name string) fleet.Entry {
	changed := day.Add(time.Duration(r.IntN(60*86400)) * time.Second)
	e := fleet.Entry{
		Name: name, NotAfter: changed.Add(90*24*time.Hour - 3600*time.Second - time.Duration(r.IntN(60))*time.Second),
		Source: fleet.SourceACME, Issuer: []string{"R10", "R11", "E7", "E8"}[r.IntN(4)], Changed: changed,
	}
	for i := 0; i < len(e.Bundle); i += 8 {
		binary.BigEndian.PutUint64(e.Bundle[i:], r.Uint64())
	}
	return e
}

// world is an inventory of n names.
func world(next func(*rand.Rand, int) fleet.Entry, n int) [inventory.Shards]map[string]fleet.Entry {
	var shards [inventory.Shards]map[string]fleet.Entry
	r := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		e := next(r, i)
		shard := &shards[inventory.ShardOf(e.Name)]
		if *shard == nil {
			*shard = map[string]fleet.Entry{}
		}
		(*shard)[e.Name] = e
	}
	return shards
}

func TestShardsAreEvenAndSmall(t *testing.T) {
	for name, next := range worlds {
		t.Run(name, func(t *testing.T) {
			least, most, names, bytes, largest := 1<<30, 0, 0, 0, 0
			for n, entries := range world(next, 100_000) {
				s := inventory.Shard{Number: n}
				list := []fleet.Entry{}
				for _, e := range entries {
					list = append(list, e)
				}
				size := len(encoded(t, put(t, s, 100_000, list...)))
				least, most, largest = min(least, len(list)), max(most, len(list)), max(largest, size)
				names, bytes = names+len(list), bytes+size
			}
			each := float64(bytes) / float64(names)
			t.Logf("%d names: %.1f bytes each, %d to %d in a shard, largest shard %d bytes", names, each, least, most, largest)
			// 97.7 on average, with a deviation of 9.9.
			if least < 55 || most > 145 {
				t.Errorf("shards have %d to %d names, want 55 to 145", least, most)
			}
			if each > entryBudget {
				t.Errorf("an entry takes %.1f bytes, want at most %d", each, entryBudget)
			}
		})
	}
}

func TestHeadIsSmall(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	heads := map[string]func(h *inventory.Head){
		"one import": func(*inventory.Head) {},
		"spread evenly": func(h *inventory.Head) {
			for n := range h.Shards {
				h.Shards[n] = 1 + r.Uint64N(h.Epoch)
			}
		},
		"steady state": func(h *inventory.Head) {
			for epoch := range h.Epoch {
				h.Shards[r.IntN(inventory.Shards)] = epoch + 1
			}
		},
		"half never written": func(h *inventory.Head) {
			for n := range h.Shards {
				h.Shards[n] = 1 + r.Uint64N(h.Epoch)*uint64(n%2)
			}
		},
	}
	for name, change := range heads {
		t.Run(name, func(t *testing.T) {
			h := inventory.Head{Epoch: 100_000, Names: 100_000}
			for n := range h.Shards {
				h.Shards[n] = 5
			}
			change(&h)
			size := len(encodedHead(t, h))
			t.Logf("%d bytes", size)
			if size > headBudget {
				t.Errorf("the head takes %d bytes, want at most %d", size, headBudget)
			}
		})
	}
}

// TestLargestShardIsRefusedWhole: what does not fit is told before it is
// written.
func TestLargestShardIsRefusedWhole(t *testing.T) {
	s := inventory.Shard{Number: number, Epoch: 1}
	long := strings.Repeat(strings.Repeat("a", 63)+".", 3)
	for _, name := range namesLike(number, long+"a%d.example", 1600) {
		s.Entries = append(s.Entries, entry(name))
	}
	_, err := inventory.EncodeShard(s)
	wantError(t, "EncodeShard(1,600 long names)", err, inventory.ErrRecord, "at most 262144")
	s.Entries = s.Entries[:1200]
	if _, err := inventory.DecodeShard(number, encoded(t, s)); err != nil {
		t.Errorf("DecodeShard(1,200 long names) = %v, want a shard", err)
	}
}

func BenchmarkDecodeShard(b *testing.B) {
	s := inventory.Shard{Number: number, Epoch: 1}
	for _, name := range namesOf(number, 100) {
		s.Entries = append(s.Entries, entry(name))
	}
	record := encoded(b, s)
	for b.Loop() {
		if _, err := inventory.DecodeShard(number, record); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeHead(b *testing.B) {
	record := encodedHead(b, fullHead(b))
	for b.Loop() {
		if _, err := inventory.DecodeHead(record); err != nil {
			b.Fatal(err)
		}
	}
}
