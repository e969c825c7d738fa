package inventory

import (
	"errors"
	"fmt"
	"math"
)

// ErrHead is returned for a head that must not be used.
var ErrHead = errors.New("not a usable inventory head")

// Head is the one record that every node watches: the version of each shard.
// A Head is never changed in place; the zero value is the one before the
// first version.
type Head struct {
	Epoch  uint64         // from 1, higher with every change
	Shards [Shards]uint64 // epoch of each shard; 0: never written
	Names  int            // names in all shards, without tombstones
}

// With returns the head with a new version of one shard, which has delta
// names (Shard.Live) more than the one before. The shard's epoch becomes the
// head's. Shards that are written together share an epoch. Errors wrap
// ErrEpoch or ErrHead.
func (h Head) With(shard Shard, delta int) (Head, error) {
	if shard.Number < 0 || shard.Number >= Shards {
		return Head{}, fmt.Errorf("add shard %d to head at epoch %d: %w: no such shard", shard.Number, h.Epoch, ErrHead)
	}
	n := h
	n.Epoch, n.Shards[shard.Number], n.Names = shard.Epoch, shard.Epoch, h.Names+delta
	err := follows(shard.Epoch, h.Shards[shard.Number])
	if err == nil && shard.Epoch < h.Epoch {
		err = fmt.Errorf("%w: from %d to %d", ErrEpoch, h.Epoch, shard.Epoch)
	}
	if err == nil {
		err = checkHead(n)
	}
	if err != nil {
		return Head{}, fmt.Errorf("add shard %d to head at epoch %d: %w", shard.Number, h.Epoch, err)
	}
	return n, nil
}

func checkHead(h Head) error {
	if h.Epoch == 0 || h.Epoch > MaxEpoch {
		return fmt.Errorf("%w: epoch %d, want 1 to %d", ErrHead, h.Epoch, uint64(MaxEpoch))
	}
	written := 0
	for n, epoch := range h.Shards {
		if epoch > h.Epoch {
			return fmt.Errorf("%w: shard %d is at epoch %d, the head at %d", ErrHead, n, epoch, h.Epoch)
		}
		if epoch > 0 {
			written++
		}
	}
	if h.Names < 0 || h.Names > written*MaxEntries {
		return fmt.Errorf("%w: %d names in %d shards", ErrHead, h.Names, written)
	}
	return nil
}

// Changed lists the shards that are newer in want than in have: those to
// fetch.
func Changed(have, want Head) []int {
	var ns []int
	for n := range Shards {
		if want.Shards[n] > have.Shards[n] {
			ns = append(ns, n)
		}
	}
	return ns
}

// Regressed lists the shards that are older in want than in have, or gone
// from it. Nothing of such a head may be followed: it is from before a
// restore, or forged.
func Regressed(have, want Head) []int { return Changed(want, have) }

// HeldBack reports whether a change from before to after names takes away
// more than share (0 to 1) of them: such a change is followed only when an
// operator says so. A share that is not a number holds every loss back.
func HeldBack(before, after int, share float64) bool {
	lost := float64(before) - float64(after)
	return lost > 0 && (lost > share*float64(before) || math.IsNaN(share))
}
