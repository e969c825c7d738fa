package inventory_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

// day is when the shards of the tests begin.
var day = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// number is the shard of the tests.
const number = 7

// entry is a live one of a certificate of 90 days, its bundle made of the
// name.
func entry(name string) fleet.Entry {
	return fleet.Entry{
		Name: name, Bundle: sha256.Sum256([]byte(name)), NotAfter: day.AddDate(0, 0, 90), Source: fleet.SourceACME,
		Issuer: "R11", Changed: day,
	}
}

// namesOf are n names of one shard in order, of 18 characters.
func namesOf(shard, n int) []string { return namesLike(shard, "cust%06d.example", n) }

// nameIn fills the %d of format so that the name belongs to the shard.
func nameIn(shard int, format string) string { return namesLike(shard, format, 1)[0] }

// namesLike are n names of one shard in order, made by filling the %d of
// format.
func namesLike(shard int, format string, n int) []string {
	var names []string
	for i := 0; len(names) < n; i++ {
		if name := fmt.Sprintf(format, i); inventory.ShardOf(name) == shard {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// shardOf is the shard of the tests at epoch 1 with an entry of each name.
func shardOf(tb testing.TB, names ...string) inventory.Shard {
	tb.Helper()
	var entries []fleet.Entry
	for _, name := range names {
		entries = append(entries, entry(name))
	}
	return put(tb, inventory.Shard{Number: number}, 1, entries...)
}

func put(tb testing.TB, s inventory.Shard, epoch uint64, entries ...fleet.Entry) inventory.Shard {
	tb.Helper()
	s, err := s.Put(epoch, entries...)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func remove(tb testing.TB, s inventory.Shard, epoch uint64, now time.Time, names ...string) inventory.Shard {
	tb.Helper()
	s, err := s.Remove(epoch, now, names...)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// fullShard uses every field and form: tombstones, both sources, several
// issuers, a wildcard, an expired certificate, the longest name.
func fullShard(tb testing.TB) inventory.Shard {
	tb.Helper()
	names := namesOf(number, 12)
	s := shardOf(tb, names...)
	old := entry(nameIn(number, "*.w%d.example.org"))
	old.Source, old.Issuer, old.NotAfter = fleet.SourceImport, "", day.AddDate(-1, 0, 0)
	long := entry(nameIn(number, strings.Repeat(strings.Repeat("a", 63)+".", 3)+strings.Repeat("b", 54)+"%07d"))
	long.Issuer, long.NotAfter, long.Changed = "Größte CA "+strings.Repeat("x", 116), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), time.Unix(1, 0).UTC()
	s = put(tb, s, 2, old, long, entry(nameIn(number, "_a-%d.xn--bcher-kva.example")))
	return remove(tb, s, 3, day.Add(time.Hour), names[3], names[7])
}

func encoded(tb testing.TB, s inventory.Shard) []byte {
	tb.Helper()
	b, err := inventory.EncodeShard(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func encodedHead(tb testing.TB, h inventory.Head) []byte {
	tb.Helper()
	b, err := inventory.EncodeHead(h)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// wantError checks the sentinel and that the message has the text.
func wantError(tb testing.TB, call string, err, sentinel error, text string) {
	tb.Helper()
	if !errors.Is(err, sentinel) || !strings.Contains(err.Error(), text) {
		tb.Errorf("%s = %v, want %v with %q", call, err, sentinel, text)
	}
	if err != nil && len(err.Error()) > 1000 {
		tb.Errorf("%s has an error of %d bytes, want a short one", call, len(err.Error()))
	}
}
