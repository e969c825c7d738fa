package site

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// ErrHead is returned for a head that must not be used.
var ErrHead = errors.New("not a usable head of sites")

// Most sites of a fleet, and tombstones that the head keeps.
const (
	MaxSites      = 2000
	MaxTombstones = 400
)

// Head is the one record that every node watches: the version of each site.
// It is never changed in place; the zero value is the one before the first.
type Head struct {
	Epoch uint64  // from 1, higher with every change
	Sites []Entry // sorted by ID
	Now   uint64  // highest epoch that an operator wants on every node at once; 0: none
}

// Entry is one site in the head, or a tombstone. A site that is in no head any
// more without one is missing, not removed.
type Entry struct {
	ID    string
	Epoch uint64     // the head's, when it was written or removed
	Hash  fleet.Hash // HashOf its record; zero: removed
}

// Removed reports whether the entry is a tombstone.
func (e Entry) Removed() bool { return e.Hash.IsZero() }

// Find is the entry of a site.
func (h Head) Find(id string) (Entry, bool) {
	i, ok := h.search(id)
	if !ok {
		return Entry{}, false
	}
	return h.Sites[i], true
}

func (h Head) search(id string) (int, bool) {
	return slices.BinarySearchFunc(h.Sites, id, func(e Entry, id string) int { return cmp.Compare(e.ID, id) })
}

// Live is the IDs of the sites that are not removed, sorted.
func (h Head) Live() []string {
	var ids []string
	for _, e := range h.Sites {
		if !e.Removed() {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

// With is the next head: its epoch is one more, and the sites have this epoch
// and these hashes; a zero hash removes. The oldest tombstones above
// MaxTombstones are forgotten. Errors wrap ErrHead.
func (h Head) With(changes map[string]fleet.Hash) (Head, error) {
	n := Head{Epoch: h.Epoch + 1, Sites: slices.Clone(h.Sites), Now: h.Now}
	for id, hash := range changes {
		e := Entry{ID: id, Epoch: n.Epoch, Hash: hash}
		if i, ok := n.search(id); ok {
			n.Sites[i] = e
		} else {
			n.Sites = slices.Insert(n.Sites, i, e)
		}
	}
	n.forget()
	if err := n.check(); err != nil {
		return Head{}, fmt.Errorf("change sites of head at epoch %d: %w", h.Epoch, err)
	}
	return n, nil
}

// forget drops the oldest tombstones above MaxTombstones.
func (h *Head) forget() {
	var epochs []uint64
	for _, e := range h.Sites {
		if e.Removed() {
			epochs = append(epochs, e.Epoch)
		}
	}
	excess := len(epochs) - MaxTombstones
	if excess <= 0 {
		return
	}
	slices.Sort(epochs)
	newest := epochs[excess-1]
	h.Sites = slices.DeleteFunc(h.Sites, func(e Entry) bool {
		if !e.Removed() || e.Epoch > newest || excess == 0 {
			return false
		}
		excess--
		return true
	})
}

func (h Head) check() error {
	if h.Epoch == 0 || h.Epoch > MaxEpoch {
		return fmt.Errorf("%w: epoch %d", ErrHead, h.Epoch)
	}
	if h.Now > h.Epoch {
		return fmt.Errorf("%w: epoch %d at once, the head is at %d", ErrHead, h.Now, h.Epoch)
	}
	removed := 0
	for i, e := range h.Sites {
		if err := CheckID(e.ID); err != nil {
			return fmt.Errorf("%w: %w", ErrHead, err)
		}
		if e.Epoch == 0 || e.Epoch > h.Epoch {
			return fmt.Errorf("%w: site %s is at epoch %d, the head at %d", ErrHead, e.ID, e.Epoch, h.Epoch)
		}
		if i > 0 && h.Sites[i-1].ID >= e.ID {
			return fmt.Errorf("%w: %s comes after %s, want each site once and in order", ErrHead, e.ID, h.Sites[i-1].ID)
		}
		if e.Removed() {
			removed++
		}
	}
	if live := len(h.Sites) - removed; live > MaxSites || removed > MaxTombstones {
		return fmt.Errorf("%w: %d sites and %d tombstones, at most %d and %d", ErrHead, live, removed, MaxSites, MaxTombstones)
	}
	return nil
}

// Changed lists the entries of want that are newer than in have, tombstones
// too: what a node has to follow.
func Changed(have, want Head) []Entry {
	var list []Entry
	for _, e := range want.Sites {
		if old, ok := have.Find(e.ID); !ok || e.Epoch > old.Epoch {
			list = append(list, e)
		}
	}
	return list
}

// Regressed lists the IDs of sites that are older in want than in have, or gone
// from it without a tombstone: it is from before a restore, or shortened. Sites
// that were tombstones are forgotten in time.
func Regressed(have, want Head) []string {
	var ids []string
	for _, e := range have.Sites {
		now, ok := want.Find(e.ID)
		if ok && now.Epoch < e.Epoch || !ok && !e.Removed() {
			ids = append(ids, e.ID)
		}
	}
	return ids
}
