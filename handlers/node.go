package handlers

import (
	"errors"
	"fmt"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Reasons for which a node refuses a ring that it could open.
var (
	// ErrOlderRing means that KV holds an epoch below one already accepted: a
	// restored snapshot or a replayed record.
	ErrOlderRing = errors.New("ring is older than one already accepted")
	// ErrForkedRing means that KV holds another ring under the epoch in force.
	ErrForkedRing = errors.New("ring differs from the one accepted under the same epoch")
)

// NodeState is what a node knows of itself before it decides.
type NodeState struct {
	Mode      fleet.Mode
	Epoch     uint64        // of the ring in the active release
	Key       fleet.KeyName // current key of the active release
	Digest    string        // of the ring in the active release; empty if that cannot be read
	HighWater uint64        // highest epoch ever accepted
	NoCopy    bool          // the sealed copy in the active release is lost or cannot be opened
}

// NodePlan says what a node has to do about its ticket keys.
type NodePlan struct {
	Reload bool // a new release and a reload of nginx
	Mode   fleet.Mode
	Urgent bool   // emergency: no splay, no interval
	Reason string // why, or why nothing is to be done
	Behind int    // rotations that the node missed; more than one can lose tickets
}

// PlanRing decides what a node does about a ring freshly read from KV. The
// error wraps ErrOlderRing or ErrForkedRing; the node then keeps what it has.
func PlanRing(s NodeState, r fleet.Ring) (NodePlan, error) {
	if r.Epoch < s.HighWater {
		return NodePlan{}, fmt.Errorf("%w: epoch %d in Consul, %d accepted before", ErrOlderRing, r.Epoch, s.HighWater)
	}
	if s.Mode == fleet.ModeRing && r.Epoch == s.Epoch {
		if s.Digest != "" && s.Digest != r.Digest() {
			return NodePlan{}, fmt.Errorf("%w: epoch %d has other keys in Consul than here", ErrForkedRing, r.Epoch)
		}
		if r.Current.Name() != s.Key {
			return NodePlan{}, fmt.Errorf("%w: epoch %d seals with %s in Consul, with %s here", ErrForkedRing, r.Epoch, r.Current.Name(), s.Key)
		}
		if s.NoCopy {
			return NodePlan{Reload: true, Mode: fleet.ModeRing, Reason: fmt.Sprintf("ring epoch %d, of which the copy on disk is lost", r.Epoch)}, nil
		}
		return NodePlan{Mode: fleet.ModeRing, Reason: fmt.Sprintf("ring epoch %d is active", r.Epoch)}, nil
	}
	p := NodePlan{Reload: true, Mode: fleet.ModeRing, Urgent: r.Emergency, Reason: fmt.Sprintf("ring epoch %d (%s)", r.Epoch, r.Cause)}
	if s.Mode == fleet.ModeRing && !r.Emergency {
		p.Behind = behind(s.Key, r)
	}
	return p, nil
}

// behind counts the rotations between the key a node seals with and the ring.
func behind(key fleet.KeyName, r fleet.Ring) int {
	if r.Current.Name() == key {
		return 0
	}
	for i, k := range r.Previous {
		if k.Name() == key {
			return i + 1
		}
	}
	return len(r.Previous) + 1
}

// PlanCutOff decides what a node does that cannot reach Consul since the given
// time: after staleAfter it stops using the ring and falls back to keys of its
// own. A staleAfter of 0 means never.
func PlanCutOff(s NodeState, since, now time.Time, staleAfter time.Duration) NodePlan {
	if s.Mode != fleet.ModeRing || !Stale(since, now, staleAfter) {
		return NodePlan{Mode: s.Mode, Reason: "keep the last ring"}
	}
	return NodePlan{
		Reload: true,
		Mode:   fleet.ModePerHost,
		Reason: fmt.Sprintf("cut off from Consul since %s", since.Format(time.RFC3339)),
	}
}

// Stale reports whether a node without contact since the given time has to
// stop using its ring. A staleAfter of 0 means never.
func Stale(since, now time.Time, staleAfter time.Duration) bool {
	return staleAfter > 0 && now.Sub(since) > staleAfter
}
