package handlers

import (
	"fmt"
	"slices"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Action is what the leader has to do about the ring.
type Action string

// The leader's actions.
const (
	Nothing   Action = "nothing"
	Create    Action = "create"    // write the first ring
	Republish Action = "republish" // write the leader's own newer ring over what KV holds
	Rotate    Action = "rotate"    // next becomes current
	Adopt     Action = "adopt"     // a key from outside becomes next
)

// Rules are the leader's settings.
type Rules struct {
	RotateEvery time.Duration
	Deadline    time.Duration // how long a due rotation waits for nodes that have not proved the ring
	Proceed     bool          // policy after the deadline: rotate all the same; else hold
}

// View is what the leader sees. Ring must have been read after Reports and
// HighWater, or a rotation in between looks like a ring that went back.
type View struct {
	Self      string
	Ring      *fleet.Ring // nil: KV has none, or none that can be read
	Damaged   bool        // KV has a record that nobody with the keyring made, for long enough
	Own       *fleet.Ring // the ring in the leader's own active release; nil: none
	HighWater uint64      // highest epoch the leader's node ever accepted
	Nodes     []fleet.Node
	Reports   []fleet.Report
	BadReport bool // a report could not be read, so epochs may be unknown
	Requests  []Request
}

// Decision is the leader's plan.
type Decision struct {
	Do       Action
	Cause    fleet.Cause
	Ring     *fleet.Ring // with Republish
	Request  *Request    // with Adopt
	Events   []string    // ids of the requests that doing it settles
	Skipped  []string    // nodes passed over by policy
	MinEpoch uint64
	Waiting  []Standing // nodes that a due rotation waits for
	Since    time.Time  // since when it waits
	Wake     time.Time  // look again then, if nothing changed before; zero: no need
	Alarm    string     // needs a person; empty: all is well
	Resign   bool       // another node holds what the fleet needs: let it lead
	Settled  []string   // requests that need nothing, with Notes saying why
	Notes    []string
}

// Decide plans the leader's next step.
func Decide(v View, rules Rules, now time.Time) Decision {
	seen, by := highest(v)
	if v.Ring == nil || v.Ring.Epoch < seen {
		return mendRing(v, seen, by)
	}
	d := Decision{Do: Nothing, MinEpoch: seen}
	rotate, adopt, rotateIDs, adoptIDs := split(*v.Ring, v.Requests)
	if adopt != nil {
		if note := unusable(*v.Ring, adopt.Key); note != "" {
			d.Settled, d.Notes = adoptIDs, []string{note}
		} else {
			d.Do, d.Cause, d.Request, d.Events = Adopt, fleet.CauseAdopt, adopt, adoptIDs
			return d
		}
	}
	since := scheduled(*v.Ring, rules, now)
	switch {
	case v.Ring.Promote:
		d.Cause, since = fleet.CausePromote, v.Ring.Changed
	case rotate != nil:
		d.Cause, since, d.Events = fleet.CauseEvent, rotate.Seen, rotateIDs
	case now.Before(since):
		d.Wake = since
		return d
	default:
		d.Cause = fleet.CauseSchedule
	}
	return due(d, v, rules, since, now)
}

// scheduled is when the next rotation is due. A key promoted more than one
// interval in the future comes from a leader whose clock was wrong: it is due.
func scheduled(r fleet.Ring, rules Rules, now time.Time) time.Time {
	if r.Current.Promoted.After(now.Add(rules.RotateEvery)) {
		return now
	}
	return r.Current.Promoted.Add(rules.RotateEvery)
}

// due decides on a rotation that is wanted since the given time.
func due(d Decision, v View, rules Rules, since, now time.Time) Decision {
	all := Standings(*v.Ring, v.Nodes, v.Reports)
	d.Waiting, d.Since = Waiting(all), since
	if !slices.ContainsFunc(v.Nodes, func(n fleet.Node) bool { return n.Name == v.Self }) {
		d.Wake = now.Add(time.Second)
		d.Alarm = "Consul's catalog does not show this node, so it cannot be complete: no rotation"
		return d
	}
	skipped, ok := Gate(d.Waiting, since, now, rules)
	if ok {
		d.Do, d.Skipped, d.Waiting = Rotate, skipped, nil
		return d
	}
	if deadline := since.Add(rules.Deadline); now.Before(deadline) {
		d.Wake = deadline
	} else {
		d.Alarm = fmt.Sprintf("rotation held since %s by policy: waiting for %s", since.Format(time.RFC3339), Describe(d.Waiting))
	}
	return d
}

// Gate decides whether a rotation wanted since the given time may happen now.
// With nobody waiting it may. Else it may after the deadline under policy
// proceed; skipped then names the nodes passed over.
func Gate(waiting []Standing, since, now time.Time, rules Rules) (skipped []string, ok bool) {
	if len(waiting) == 0 {
		return nil, true
	}
	if rules.Proceed && !now.Before(since.Add(rules.Deadline)) {
		return Names(waiting), true
	}
	return nil, false
}

// highest is the highest epoch that any node says it has seen, and which.
func highest(v View) (epoch uint64, node string) {
	epoch, node = v.HighWater, v.Self
	for _, r := range v.Reports {
		if r.Seen > epoch {
			epoch, node = r.Seen, r.Node
		}
	}
	return epoch, node
}

// mendRing decides about a ring that is missing or went back. Missing is
// never taken for deleted: only a fleet in which nobody ever saw a ring gets
// a first one.
func mendRing(v View, seen uint64, by string) Decision {
	d := Decision{Do: Nothing, MinEpoch: seen}
	have := "no ring"
	switch {
	case v.Damaged:
		have = "a damaged ring"
	case v.Ring != nil:
		have = fmt.Sprintf("ring epoch %d", v.Ring.Epoch)
	}
	switch {
	case seen == 0 && (v.BadReport || v.Damaged):
		d.Alarm = fmt.Sprintf("Consul has %s and not every node's epoch is known: not making a first ring", have)
	case seen == 0:
		d.Do, d.Cause = Create, fleet.CauseCreated
	case v.Own != nil && v.Own.Epoch >= seen:
		d.Do, d.Ring = Republish, v.Own
		d.Alarm = fmt.Sprintf("Consul has %s although epoch %d was in force: writing epoch %d again", have, seen, v.Own.Epoch)
	default:
		d.Resign = slices.ContainsFunc(v.Reports, func(r fleet.Report) bool { return r.Node != v.Self && r.Applied == seen })
		d.Alarm = fmt.Sprintf("Consul has %s although %s saw epoch %d, which this leader does not hold: no rotation until that node leads, or tlsfleet rotate-ticket --emergency", have, by, seen)
	}
	return d
}

// unusable says why a key from outside needs no or allows no adoption.
func unusable(r fleet.Ring, key fleet.Secret) string {
	name := fleet.TicketKey{Raw: key}.Name()
	switch {
	case name == r.Current.Name():
		return fmt.Sprintf("key %s from an event is current already", name)
	case name == r.Next.Name() && r.Promote:
		return fmt.Sprintf("key %s from an event is being adopted already", name)
	}
	for _, k := range r.Previous {
		if k.Name() == name {
			return fmt.Sprintf("key %s from an event was used before: refused", name)
		}
	}
	return ""
}
