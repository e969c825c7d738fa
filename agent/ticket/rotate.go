package ticket

import (
	"errors"
	"fmt"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// ErrFull means that a rotation would drop a key whose tickets may still come.
var ErrFull = errors.New("the ring is full")

// Create makes the first ring of a fleet out of two fresh keys, with epoch
// c.MinEpoch+1.
func Create(c Change) (fleet.Ring, error) {
	r, err := replaced(fleet.Ring{}, c)
	if err != nil {
		return fleet.Ring{}, fmt.Errorf("create ring: %w", err)
	}
	return r, nil
}

// Emergency replaces every key at once with two fresh ones and asks the nodes
// to apply without delay. Every session ticket of the fleet is lost: that is
// its purpose.
func Emergency(r fleet.Ring, c Change) (fleet.Ring, error) {
	n, err := replaced(r, c)
	if err != nil {
		return fleet.Ring{}, fmt.Errorf("replace ring at epoch %d: %w", r.Epoch, err)
	}
	n.Emergency = true
	return n, nil
}

// replaced is a ring after old that shares no key with it.
func replaced(old fleet.Ring, c Change) (fleet.Ring, error) {
	n, err := c.frame(old)
	if err != nil {
		return fleet.Ring{}, err
	}
	keys, err := c.fresh(2, old, n.Changed)
	if err != nil {
		return fleet.Ring{}, err
	}
	n.Current, n.Next = keys[0], keys[1]
	n.Current.Promoted = n.Changed
	return checked(n)
}

// Rotate moves every key one role on: the fresh key becomes next, next becomes
// current, current becomes the newest previous, and previous keys beyond
// c.Keep are dropped once they were retired for c.KeepFor, so that rotations in
// quick succession lose no ticket either. A ring in which no key may be dropped
// and none has room is ErrFull. Promote and Emergency are cleared.
//
// Nodes with the old ring and nodes with the new one open each other's
// tickets, so the change may roll out at any pace; a node two epochs behind
// does not, so the caller rotates only when the old ring is proved.
func Rotate(r fleet.Ring, c Change) (fleet.Ring, error) {
	n, err := rotated(r, c)
	if err != nil {
		return fleet.Ring{}, fmt.Errorf("rotate ring at epoch %d: %w", r.Epoch, err)
	}
	return n, nil
}

func rotated(r fleet.Ring, c Change) (fleet.Ring, error) {
	if err := Validate(r); err != nil {
		return fleet.Ring{}, err
	}
	if c.Keep < 1 || c.Keep > maxKeep {
		return fleet.Ring{}, fmt.Errorf("keep %d previous keys, want 1 to %d", c.Keep, maxKeep)
	}
	n, err := c.frame(r)
	if err != nil {
		return fleet.Ring{}, err
	}
	keys, err := c.fresh(1, r, n.Changed)
	if err != nil {
		return fleet.Ring{}, err
	}
	n.Next, n.Current = keys[0], r.Next
	n.Current.Promoted = n.Changed
	retired := r.Current
	retired.Retired = n.Changed
	kept, err := c.needed(r.Previous, n.Changed)
	if err != nil {
		return fleet.Ring{}, err
	}
	n.Previous = append([]fleet.TicketKey{retired}, kept...)
	return checked(n)
}

// needed are the previous keys, newest first, that stay when one more joins
// them.
func (c Change) needed(previous []fleet.TicketKey, now time.Time) ([]fleet.TicketKey, error) {
	n := min(len(previous), c.Keep-1)
	for n < len(previous) && now.Before(previous[n].Retired.Add(c.KeepFor)) {
		n++
	}
	if n >= maxKeep {
		free := previous[n-1].Retired.Add(c.KeepFor)
		return nil, fmt.Errorf("%w: %d keys may still be needed by tickets, the oldest until %s: wait, or rotate less often",
			ErrFull, n, free.Format(time.RFC3339))
	}
	return previous[:n], nil
}
