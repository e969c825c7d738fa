package agent

import (
	"errors"
	"fmt"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/handlers"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// judge notes whether Consul can be reached and what it said of the ring.
func (f *follower) judge(err error) {
	f.cutOff = err != nil && !errors.Is(err, store.ErrMissing) && !errors.Is(err, store.ErrRecord)
	switch {
	case err == nil:
		f.keepContact()
		f.problems.replace("contact")
	case errors.Is(err, store.ErrMissing):
		f.problems.replace("contact", f.missing())
	case errors.Is(err, store.ErrRecord):
		f.log.Error("ring refused", "err", err)
		f.problems.replace("contact", fleet.Problem{
			Code: "ring-unreadable", Severity: fleet.Alarm, Message: err.Error(),
			Hint: "compare this node's keyring with the others'; the last good ring stays in force",
		})
	case errors.Is(err, store.ErrDenied):
		f.log.Error("ring may not be read", "err", err)
		f.problems.replace("contact", fleet.Problem{
			Code: "ring-denied", Severity: fleet.Alarm, Message: err.Error(),
			Hint: "let this node's ACL token read the fleet's keys; the last ring stays in force until it is stale",
		})
	default:
		f.log.Warn("consul not reached", "err", err)
		f.problems.replace("contact", fleet.Problem{Code: "consul-unreachable", Severity: fleet.Warning, Message: err.Error()})
	}
}

func (f *follower) missing() fleet.Problem {
	if _, high := f.view.own(); high > 0 {
		f.log.Error("ring is missing in consul, keeping the last one", "epoch", high)
		return fleet.Problem{
			Code: "ring-missing", Severity: fleet.Alarm,
			Message: fmt.Sprintf("Consul has no ring although epoch %d was in force: keeping it", high),
			Hint:    "check this node's ACL token and whether the KV prefix was deleted",
		}
	}
	return fleet.Problem{Code: "ring-awaited", Severity: fleet.Warning, Message: "the fleet has no ring yet: waiting for a leader to make it"}
}

func (f *follower) considerStale() {
	ring, _ := f.view.own()
	if ring == nil || f.change != nil {
		return
	}
	plan := handlers.PlanCutOff(f.view.state(), f.contact.last(), time.Now(), f.staleAfter)
	if plan.Reload {
		f.schedule(renderer.Release{Mode: plan.Mode, Reason: plan.Reason}, 0)
	}
}

// keepContact remembers that Consul could be reached until now.
func (f *follower) keepContact() {
	if f.cutOff {
		return
	}
	f.view.reached(time.Now())
	if err := f.contact.touch(); err != nil {
		f.log.Warn("time of the last contact with consul not saved", "err", err)
	}
}
