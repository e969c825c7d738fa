package inventory

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// DecodeShard reads what EncodeShard wrote and nothing else, and only the
// shard with this number. Errors wrap ErrSchema for a schema of another
// version, else ErrRecord (with ErrEntry or ErrEpoch when the shard itself is
// wrong).
func DecodeShard(number int, b []byte) (Shard, error) {
	s, err := decodeShard(number, b)
	if err != nil {
		return Shard{}, fmt.Errorf("decode shard %d: %w", number, err)
	}
	return s, nil
}

func decodeShard(number int, b []byte) (Shard, error) {
	r, err := openRecord(b, kindShard)
	if err != nil {
		return Shard{}, err
	}
	s := Shard{Number: r.small(Shards - 1), Epoch: toEpoch(r.number(scalar))}
	if !r.bad && s.Number != number {
		return Shard{}, fmt.Errorf("%w: it is shard %d", ErrRecord, s.Number)
	}
	entries := r.entries(r.small(MaxEntries))
	if r.bad {
		return Shard{}, fmt.Errorf("%w: it is cut or damaged", ErrRecord)
	}
	slices.SortFunc(entries, func(a, b *fleet.Entry) int { return strings.Compare(a.Name, b.Name) })
	s.Entries = slices.Grow(s.Entries, len(entries))
	for _, e := range entries {
		s.Entries = append(s.Entries, *e)
	}
	again, err := EncodeShard(s)
	if err != nil {
		return Shard{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if !bytes.Equal(again, b) {
		return Shard{}, fmt.Errorf("%w: not in canonical form", ErrRecord)
	}
	return s, nil
}

// entries reads n entries; what it returns is of use only if the reader is
// not bad.
func (r *bitReader) entries(n int) []*fleet.Entry {
	names := r.names(n)
	if r.bad || n == 0 {
		return nil
	}
	entries := pointers(make([]fleet.Entry, n))
	for i, e := range entries {
		e.Name, e.Removed = names[i], r.get(1) == 1
	}
	var live []*fleet.Entry
	changed := r.offsets(n)
	for i, e := range entries {
		e.Changed = fromUnix(changed[i])
		if !e.Removed {
			live = append(live, e)
		}
	}
	r.live(live)
	return entries
}

// live reads what putLive wrote.
func (r *bitReader) live(entries []*fleet.Entry) {
	if len(entries) == 0 {
		return
	}
	var issuers []string
	for range 1 + r.small(len(entries)-1) {
		issuers = append(issuers, string(r.getBytes(r.small(maxIssuer))))
	}
	index, lasts := r.column(len(entries)), r.offsets(len(entries))
	for i, e := range entries {
		if r.bad || index[i] >= int64(len(issuers)) {
			r.bad = true
			return
		}
		e.Issuer = issuers[index[i]]
		e.NotAfter = fromUnix(e.Changed.Unix() + lasts[i])
		e.Source = sources[r.get(1)]
	}
	for _, e := range entries {
		copy(e.Bundle[:], r.getBytes(fleet.HashSize))
	}
}

// offsets reads n seconds, which are for Validate to judge.
func (r *bitReader) offsets(n int) []int64 {
	vs := make([]int64, n)
	least := r.get(secondsBits) - maxSeconds
	for i, distance := range r.column(n) {
		vs[i] = least + distance
	}
	return vs
}

func fromUnix(s int64) time.Time { return time.Unix(s, 0).UTC() }
