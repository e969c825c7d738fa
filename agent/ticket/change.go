package ticket

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Change is what a new epoch of the ring is made of besides the old one.
type Change struct {
	Now      time.Time // a clock behind the ring's last change counts as that change's time
	By       string    // the node or operator, at most 128 bytes
	Cause    fleet.Cause
	Fresh    []fleet.TicketKey // new keys: 2 for Create and Emergency, 1 for Rotate, ignored by Adopt
	Keep     int               // previous keys kept by Rotate at least, from the function Keep
	KeepFor  time.Duration     // and each one for so long after it was retired: session timeout and apply lag
	Skipped  []string          // nodes that had not proved the ring before; the first fleet.MaxNodes in order are kept
	Events   []string          // ids of the events acted on; the newest fleet.MaxRingEvents of all are kept
	MinEpoch uint64            // highest epoch known from elsewhere: the new one is above it
}

// errEpochs is unreachable by counting; a forged or broken epoch can be there.
var errEpochs = errors.New("no epoch is left above it")

// frame is the new ring without its keys.
func (c Change) frame(old fleet.Ring) (fleet.Ring, error) {
	base := max(old.Epoch, c.MinEpoch)
	if base == math.MaxUint64 {
		return fleet.Ring{}, fmt.Errorf("epoch %d: %w", base, errEpochs)
	}
	now := seconds(c.Now)
	if now.Before(old.Changed) {
		now = old.Changed
	}
	return fleet.Ring{
		Epoch: base + 1, Changed: now, Cause: c.Cause, By: c.By,
		Skipped: firstNodes(c.Skipped), Events: newestEvents(old.Events, c.Events),
	}, nil
}

// fresh returns the n new keys, born at the given time and none of them in the
// old ring.
func (c Change) fresh(n int, old fleet.Ring, born time.Time) ([]fleet.TicketKey, error) {
	if len(c.Fresh) != n {
		return nil, fmt.Errorf("%d fresh keys given, want %d", len(c.Fresh), n)
	}
	keys := make([]fleet.TicketKey, 0, n)
	for _, k := range c.Fresh {
		if role, found := find(old, k.Name()); found {
			return nil, fmt.Errorf("fresh key %s: %w as %s", k.Name(), ErrInUse, role)
		}
		keys = append(keys, fleet.TicketKey{Raw: k.Raw, Origin: k.Origin, Born: born})
	}
	return keys, nil
}

// find says in which role the ring holds the key with this name.
func find(r fleet.Ring, name fleet.KeyName) (fleet.Role, bool) {
	for _, m := range r.Members() {
		if !m.Key.IsZero() && m.Key.Name() == name {
			return m.Role, true
		}
	}
	return "", false
}

// checked validates the result of a change.
func checked(r fleet.Ring) (fleet.Ring, error) {
	if err := Validate(r); err != nil {
		return fleet.Ring{}, err
	}
	return r, nil
}

func firstNodes(names []string) []string {
	nodes := slices.Clone(names)
	slices.Sort(nodes)
	nodes = slices.Compact(nodes)
	return clip(nodes[:min(len(nodes), fleet.MaxNodes)])
}

// newestEvents appends; an id that comes again counts as new.
func newestEvents(old, ids []string) []string {
	all := slices.Concat(old, ids)
	seen := make(map[string]bool, len(all))
	var newest []string
	for _, id := range slices.Backward(all) {
		if !seen[id] && len(newest) < fleet.MaxRingEvents {
			seen[id] = true
			newest = append(newest, id)
		}
	}
	slices.Reverse(newest)
	return newest
}

// clip makes an empty list nil, as Decode returns it.
func clip(s []string) []string {
	if len(s) == 0 {
		return nil
	}
	return s
}

// seconds is t as rings store it: whole seconds UTC.
func seconds(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.Unix(t.Unix(), 0).UTC()
}
