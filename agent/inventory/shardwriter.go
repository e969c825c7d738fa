package inventory

import (
	"fmt"
	"slices"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// EncodeShard writes a shard, the same shard always as the same bytes, in
// columns, with its entries in the order of byTail. Errors wrap ErrEntry or
// ErrEpoch, or ErrRecord for a shard that takes more than MaxRecord bytes.
func EncodeShard(s Shard) ([]byte, error) {
	if err := Validate(s); err != nil {
		return nil, fmt.Errorf("encode shard %d at epoch %d: %w", s.Number, s.Epoch, err)
	}
	entries := pointers(s.Entries)
	slices.SortFunc(entries, func(a, b *fleet.Entry) int { return byTail(a.Name, b.Name) })
	w := newRecord(kindShard)
	w.number(int64(s.Number), scalar)
	w.number(fromEpoch(s.Epoch), scalar)
	w.number(int64(len(entries)), scalar)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name
	}
	w.putNames(names)
	if len(entries) > 0 {
		w.putChanged(entries)
	}
	w.putLive(slices.DeleteFunc(entries, func(e *fleet.Entry) bool { return e.Removed }))
	b, err := w.finish()
	if err != nil {
		return nil, fmt.Errorf("encode shard %d at epoch %d: %w", s.Number, s.Epoch, err)
	}
	return b, nil
}

// pointers are cheaper to sort than entries.
func pointers(entries []fleet.Entry) []*fleet.Entry {
	ps := make([]*fleet.Entry, len(entries))
	for i := range entries {
		ps[i] = &entries[i]
	}
	return ps
}

// putChanged writes which entries are tombstones, and when each was changed.
func (w *bitWriter) putChanged(entries []*fleet.Entry) {
	changed := make([]int64, len(entries))
	for i, e := range entries {
		removed := int64(0)
		if e.Removed {
			removed = 1
		}
		w.put(removed, 1)
		changed[i] = e.Changed.Unix()
	}
	w.offsets(changed)
}

// putLive writes the rest of the entries that are no tombstones. How long a
// certificate lasts from its change is alike for many, its end is not.
func (w *bitWriter) putLive(entries []*fleet.Entry) {
	if len(entries) == 0 {
		return
	}
	issuers := issuersOf(entries)
	w.number(int64(len(issuers)-1), scalar)
	for _, issuer := range issuers {
		w.number(int64(len(issuer)), scalar)
		w.putBytes([]byte(issuer))
	}
	index, lasts := make([]int64, len(entries)), make([]int64, len(entries))
	for i, e := range entries {
		n, _ := slices.BinarySearch(issuers, e.Issuer)
		index[i], lasts[i] = int64(n), e.NotAfter.Unix()-e.Changed.Unix()
	}
	w.column(index)
	w.offsets(lasts)
	for _, e := range entries {
		w.put(int64(slices.Index(sources, e.Source)), 1)
	}
	for _, e := range entries {
		w.putBytes(e.Bundle[:])
	}
}

// sources are told by their places.
var sources = []fleet.Source{fleet.SourceImport, fleet.SourceACME}

func issuersOf(entries []*fleet.Entry) []string {
	issuers := make([]string, len(entries))
	for i, e := range entries {
		issuers[i] = e.Issuer
	}
	slices.Sort(issuers)
	return slices.Compact(issuers)
}

// maxSeconds is above every difference of two times in seconds. Added to one
// it gives a number of secondsBits that is not negative.
const (
	maxSeconds  = 1 << 40
	secondsBits = 41
)

// offsets writes a column of seconds, not an empty one, as distances from the
// smallest.
func (w *bitWriter) offsets(vs []int64) {
	least := slices.Min(vs)
	w.put(least+maxSeconds, secondsBits)
	distances := make([]int64, len(vs))
	for i, v := range vs {
		distances[i] = v - least
	}
	w.column(distances)
}
