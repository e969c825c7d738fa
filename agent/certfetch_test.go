package agent

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

// TestNewNamesAreServedAsTheyCome has a name that is served, which keeps what it
// has until all are written, and others that are not.
func TestNewNamesAreServedAsTheyCome(t *testing.T) {
	f := follows(t)
	g, state := guarding(t, nil)
	f.renderer = g.renderer
	f.served.reset(map[string]fleet.Hash{"old.test": bundleNo(1), "same.test": bundleNo(3)})
	f.todo = map[string]fleet.Hash{
		"old.test": bundleNo(2), "new.test": bundleNo(2), "more.test": bundleNo(2), "same.test": bundleNo(3),
		"alone.test": bundleNo(4), "absent.test": bundleNo(5), "gone.test": {},
	}
	all := f.wanted()
	for n, want := range map[byte]bool{2: true, 3: false, 4: false, 5: false} {
		if got, asked := all[bundleNo(n)]; !asked || got.full != want {
			t.Errorf("bundle %d: asked for %t, to be checked in full %t, want %t", n, asked, got.full, want)
		}
	}
	if len(all) != 4 {
		t.Errorf("%d bundles are asked for, want 4", len(all))
	}
	for _, n := range []byte{2, 3, 4} {
		makeFolder(t, state, "store", bundleNo(n).String())
	}
	added := map[string]fleet.Hash{}
	f.serveNew([]fleet.Hash{bundleNo(2), bundleNo(3)}, all, added)
	want := map[string]fleet.Hash{"new.test": bundleNo(2), "more.test": bundleNo(2)}
	if !maps.Equal(added, want) {
		t.Errorf("served are %v, want %v", added, want)
	}
	for name := range want {
		if have, served := f.served.bundle(name); !served || have != bundleNo(2) {
			t.Errorf("%s is noted with %s, want what it is served with", name, have)
		}
	}
	f.serveNew([]fleet.Hash{bundleNo(4), bundleNo(5)}, all, added)
	if !maps.Equal(added, want) {
		t.Errorf("served are %v after one that fails, want %v and all others at the end", added, want)
	}
	links, err := os.ReadDir(filepath.Join(state, "live"))
	var names []string
	for _, l := range links {
		names = append(names, l.Name())
	}
	if err != nil || !slices.Equal(names, []string{"alone.test", "more.test", "new.test"}) {
		t.Errorf("links are %v, %v, want none of a name that was served", names, err)
	}
}

// TestManyBundlesAreListed divides bundles that are missing, as few or as many as
// the fleet has.
func TestManyBundlesAreListed(t *testing.T) {
	hashes := make([]fleet.Hash, 20_000)
	for i := range hashes {
		hashes[i] = sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
	}
	none := func(fleet.Hash) bool { return false }
	tests := map[string]struct {
		hashes []fleet.Hash
		names  int // of the fleet
		stored func(fleet.Hash) bool
		digits int
	}{
		"few":                    {hashes[:bulk-1], bulk, none, 0},
		"few of many":            {hashes[:5000], 20_000, none, 0},
		"most are here":          {hashes, 20_000, func(h fleet.Hash) bool { return h[0] > 50 }, 0},
		"all of a thousand":      {hashes[:bulk], bulk, none, 1},
		"most of some thousands": {hashes[:9000], 12_000, none, 1},
		"all of many":            {hashes, 20_000, none, 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := follows(t)
			f.head.Names = tt.names
			left := map[fleet.Hash]bool{}
			for _, hash := range tt.hashes {
				left[hash] = true
			}
			for _, part := range f.portions(slices.Clone(tt.hashes), tt.stored) {
				if len(part.digits) != tt.digits || len(part.hashes) > 2*listAtOnce || tt.digits == 0 && len(part.hashes) > readAtOnce {
					t.Fatalf("%d bundles under %q, want %d digits and no more than are read at once", len(part.hashes), part.digits, tt.digits)
				}
				for _, hash := range part.hashes {
					if !left[hash] || !strings.HasPrefix(hash.String(), part.digits) {
						t.Fatalf("%s is under %q, or read twice", hash, part.digits)
					}
					delete(left, hash)
				}
			}
			if len(left) > 0 {
				t.Errorf("%d bundles are not read", len(left))
			}
		})
	}
}

func TestOnlyATombstoneTakesANameAway(t *testing.T) {
	f := follows(t)
	const shard = 7
	f.known.put(inventory.Shard{Number: shard, Epoch: 1, Entries: []fleet.Entry{
		{Name: "a.test", Bundle: bundleNo(1)}, {Name: "b.test", Bundle: bundleNo(2)}, {Name: "c.test", Bundle: bundleNo(3)}, {Name: "d.test", Bundle: bundleNo(4)},
	}})
	f.served.reset(map[string]fleet.Hash{"a.test": bundleNo(1), "b.test": bundleNo(2), "c.test": bundleNo(3), "d.test": bundleNo(4)})
	f.take(inventory.Shard{Number: shard, Epoch: 2, Entries: []fleet.Entry{
		{Name: "a.test", Bundle: bundleNo(9)}, {Name: "b.test", Removed: true}, {Name: "d.test", Bundle: bundleNo(4)}, {Name: "e.test", Bundle: bundleNo(5)},
	}})
	if want := map[string]fleet.Hash{"a.test": bundleNo(9), "b.test": {}, "e.test": bundleNo(5)}; !maps.Equal(f.todo, want) {
		t.Errorf("to be done is %v, want %v", f.todo, want)
	}
	if !slices.Equal(f.lost[shard], []string{"c.test"}) {
		t.Errorf("lost are %v, want c.test, which is kept", f.lost[shard])
	}
}
