package inventory

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// MaxEpoch is the last epoch of a shard or a head.
const MaxEpoch = maxValue

// Why a change is refused.
var (
	// ErrEntry: an entry that must not be stored, or not in this shard.
	ErrEntry = errors.New("not a usable inventory entry")
	// ErrEpoch: the epoch is not above the one in force.
	ErrEpoch = errors.New("epoch does not go up")
	// ErrUnknown: the inventory has no such name.
	ErrUnknown = errors.New("no such name in the inventory")
)

// Put returns the shard at epoch with the entries added, or in place of what
// their names had, tombstones too. Times are cut to whole seconds UTC, issuers
// to what can be printed. Errors wrap ErrEpoch or ErrEntry.
func (s Shard) Put(epoch uint64, entries ...fleet.Entry) (Shard, error) {
	n, err := s.put(epoch, entries)
	if err != nil {
		return Shard{}, fmt.Errorf("put into shard %d at epoch %d: %w", s.Number, epoch, err)
	}
	return n, nil
}

func (s Shard) put(epoch uint64, entries []fleet.Entry) (Shard, error) {
	if err := follows(epoch, s.Epoch); err != nil {
		return Shard{}, err
	}
	n := Shard{Number: s.Number, Epoch: epoch, Entries: slices.Clone(s.Entries)}
	seen := make(map[string]bool, len(entries))
	for _, e := range entries {
		e.NotAfter, e.Changed, e.Issuer = seconds(e.NotAfter), seconds(e.Changed), printable(e.Issuer)
		switch {
		case e.Removed:
			return Shard{}, fmt.Errorf("%w: %.300q is a tombstone, which Remove makes", ErrEntry, e.Name)
		case seen[e.Name]:
			return Shard{}, fmt.Errorf("%w: %.300q is given twice", ErrEntry, e.Name)
		}
		if err := checkEntry(e, s.Number); err != nil {
			return Shard{}, err
		}
		seen[e.Name] = true
		n.set(e)
	}
	if len(n.Entries) > MaxEntries {
		return Shard{}, fmt.Errorf("%w: %d entries, at most %d", ErrEntry, len(n.Entries), MaxEntries)
	}
	return n, nil
}

// Remove returns the shard at epoch with a tombstone, changed now, for each of
// the names. Names that have one keep it; a name that the shard does not know
// is ErrUnknown. Errors wrap ErrEpoch, ErrUnknown or ErrEntry.
func (s Shard) Remove(epoch uint64, now time.Time, names ...string) (Shard, error) {
	n, err := s.remove(epoch, now, names)
	if err != nil {
		return Shard{}, fmt.Errorf("remove from shard %d at epoch %d: %w", s.Number, epoch, err)
	}
	return n, nil
}

func (s Shard) remove(epoch uint64, now time.Time, names []string) (Shard, error) {
	if err := follows(epoch, s.Epoch); err != nil {
		return Shard{}, err
	}
	n := Shard{Number: s.Number, Epoch: epoch, Entries: slices.Clone(s.Entries)}
	for _, name := range names {
		e, found := n.Lookup(name)
		if !found {
			return Shard{}, fmt.Errorf("%w: %.300q", ErrUnknown, name)
		}
		if e.Removed {
			continue
		}
		tombstone := fleet.Entry{Name: name, Removed: true, Changed: seconds(now)}
		if err := checkEntry(tombstone, s.Number); err != nil {
			return Shard{}, err
		}
		n.set(tombstone)
	}
	return n, nil
}

// Prune returns the shard at epoch without the tombstones that were made
// before the given time. A node that has not followed the shard since then
// never learns of those removals and keeps the names (Missing).
func (s Shard) Prune(epoch uint64, before time.Time) Shard {
	n := Shard{Number: s.Number, Epoch: epoch}
	for _, e := range s.Entries {
		if !e.Removed || !e.Changed.Before(before) {
			n.Entries = append(n.Entries, e)
		}
	}
	return n
}

func follows(epoch, last uint64) error {
	if epoch <= last || epoch > MaxEpoch {
		return fmt.Errorf("%w: from %d to %d", ErrEpoch, last, epoch)
	}
	return nil
}
