package handlers

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// WaveState is how far a version of the sites has come.
type WaveState string

// The states of a wave.
const (
	WaveCanary  WaveState = "canary"     // canaries are to apply it
	WaveProving WaveState = "proving"    // all canaries have applied it, not all have proved it
	WaveRolled  WaveState = "rolled-out" // every node may apply it
	WaveHalted  WaveState = "halted"     // no node may: the canaries go back
)

// Wave is the record of how one version of the sites reaches the fleet. It holds
// all that a leader needs to go on where another one ended.
type Wave struct {
	Epoch    uint64    `json:"epoch"` // of the sites' head that is on its way
	Base     uint64    `json:"base"`  // the last one that was rolled out; 0: none
	State    WaveState `json:"state"`
	Canaries []string  `json:"canaries,omitempty"` // nodes that apply Epoch before the others, sorted
	Spent    []string  `json:"spent,omitempty"`    // canaries that did not answer in time, sorted: they are none again
	Since    time.Time `json:"since"`
	Reason   string    `json:"reason,omitempty"` // why it was halted

	// Out is the sites that canaries could not serve, by the epochs at which they
	// were set. Later waves have them as they are in Base, until they are set again.
	Out map[string]uint64 `json:"out,omitempty"`
}

// Check refuses a record that no leader has written.
func (w Wave) Check() error {
	known := []WaveState{WaveCanary, WaveProving, WaveRolled, WaveHalted}
	switch {
	case w.Epoch == 0 || w.Base >= w.Epoch:
		return fmt.Errorf("wave to epoch %d from %d", w.Epoch, w.Base)
	case !slices.Contains(known, w.State):
		return fmt.Errorf("wave state %q is not known", w.State)
	case w.State == WaveHalted && w.Reason == "":
		return errors.New("wave halted without a reason")
	case slices.ContainsFunc(slices.Collect(maps.Values(w.Out)), func(set uint64) bool { return set == 0 || set > w.Epoch }):
		return fmt.Errorf("wave to epoch %d without sites of another one: %v", w.Epoch, w.Out)
	case !sortedNames(w.Canaries) || !sortedNames(w.Spent):
		return errors.New("wave names nodes that are no names, or not in order")
	}
	return nil
}

// sortedNames reports whether these are different names of nodes in order.
func sortedNames(names []string) bool {
	for i, n := range names {
		if fleet.CheckName(n) != nil || i > 0 && names[i-1] >= n {
			return false
		}
	}
	return true
}

// MayApply is the epoch of the sites that this node has to serve now; 0: none
// yet. A node that serves a higher one goes back to it.
func (w Wave) MayApply(node string) uint64 {
	switch w.State {
	case WaveRolled:
		return w.Epoch
	case WaveCanary, WaveProving:
		if slices.Contains(w.Canaries, node) {
			return w.Epoch
		}
	case WaveHalted:
	}
	return w.Base
}

// Again is which of some sites have to be set once more, as they are, for every
// node to serve them, sorted. set is the epochs at which they were set, head that of
// the newest sites. Where a halt holds up sites that did not fail, it is these
// alone: they go without those that did. now wants all of them on every node at once.
func (w Wave) Again(set map[string]uint64, head uint64, now bool) []string {
	var failed, held []string
	all := slices.Sorted(maps.Keys(set))
	for _, id := range all {
		switch epoch := set[id]; {
		case w.Out[id] == epoch:
			failed = append(failed, id)
		case epoch > w.Base:
			held = append(held, id)
		}
	}
	switch seen := w.Epoch >= head; {
	case seen && w.State == WaveRolled:
		return failed
	case now:
		return all
	case !seen || w.State != WaveHalted: // on their way
		return nil
	case len(held) > 0:
		return held
	default:
		return failed
	}
}

// Ended reports whether nothing is left to be done for the wave.
func (w Wave) Ended() bool { return w.State == WaveRolled || w.State == WaveHalted }

// next is the epoch to go back to if the wave after this one is halted.
func (w Wave) next() uint64 {
	if w.State == WaveRolled {
		return w.Epoch
	}
	return w.Base
}

// pick adds canaries until there are count of them: nodes in service that are
// neither canaries nor spent, the healthy ones first, in an order that differs
// from epoch to epoch. There may be too few.
func (w Wave) pick(nodes []fleet.Node, count int) []string {
	type candidate struct {
		name    string
		healthy bool
		rank    uint64
	}
	var all []candidate
	for _, n := range nodes {
		if n.InService() && !slices.Contains(w.Canaries, n.Name) && !slices.Contains(w.Spent, n.Name) {
			all = append(all, candidate{n.Name, n.Healthy, rank(w.Epoch, n.Name)})
		}
	}
	slices.SortFunc(all, func(a, b candidate) int {
		if a.healthy != b.healthy {
			if a.healthy {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.name, b.name))
	})
	canaries := slices.Clone(w.Canaries)
	for _, c := range all {
		if len(canaries) >= count {
			break
		}
		canaries = append(canaries, c.name)
	}
	slices.Sort(canaries)
	return canaries
}

// rank orders nodes for one epoch.
func rank(epoch uint64, node string) uint64 {
	h := fnv.New64a()
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], epoch)
	_, _ = h.Write(append(b[:], node...)) //nolint:errcheck // a hash takes all
	return h.Sum64()
}
