package agent

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/handlers"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// change is a release that waits for its time.
type change struct {
	release     renderer.Release
	epoch       uint64
	first, last time.Time
	u           float64 // this batch's place in the splay
	due         time.Time
	attempt     int
	blamed      bool // refused for certificates, so that it is due once they are taken back
}

// decide plans for a ring that was read.
func (f *follower) decide(rec store.RingRecord) {
	plan, err := handlers.PlanRing(f.view.state(), rec.Ring)
	if err != nil {
		f.log.Error("ring refused", "epoch", rec.Ring.Epoch, "err", err)
		f.problems.replace("ring", fleet.Problem{
			Code: "ring-refused", Severity: fleet.Alarm, Message: err.Error(),
			Hint: "the leader writes the newer ring again if it holds it; else run tlsfleet rotate-ticket --emergency",
		})
		return
	}
	f.log.Debug("ring read", "epoch", rec.Ring.Epoch, "reload", plan.Reload, "reason", plan.Reason)
	f.problems.replace("ring", missed(plan)...)
	if !plan.Reload {
		if f.change != nil && f.change.epoch != rec.Ring.Epoch {
			f.change = nil
		}
		return
	}
	f.schedule(renderer.Release{Mode: plan.Mode, Ring: rec.Ring, Sealed: f.store.Own(store.RingPath, rec.Sealed), Reason: plan.Reason, Urgent: plan.Urgent}, rec.Ring.Epoch)
}

func missed(plan handlers.NodePlan) []fleet.Problem {
	if plan.Behind < 2 {
		return nil
	}
	return []fleet.Problem{{
		Code: "rotations-missed", Severity: fleet.Warning,
		Message: fmt.Sprintf("this node was %d rotations behind: tickets sealed meanwhile could not be opened here", plan.Behind),
	}}
}

// schedule adds a release to the batch that waits, or begins one.
func (f *follower) schedule(rel renderer.Release, epoch uint64) {
	now := time.Now()
	c := f.change
	if c == nil {
		c = &change{first: now, u: rand.Float64()} //nolint:gosec // a splay needs no secrecy
		f.change = c
	}
	if c.epoch != epoch || c.release.Mode != rel.Mode {
		c.last, c.attempt = now, 0
	}
	urgent := rel.Urgent || c.release.Urgent
	c.release, c.epoch = rel, epoch
	c.release.Urgent = urgent
	if c.attempt == 0 {
		c.due = f.pace.Due(c.first, c.last, f.prev, urgent, c.u)
	}
	f.log.Info("reload scheduled", "reason", rel.Reason, "in", time.Until(c.due).Round(time.Millisecond))
}

// renew schedules a release with the keys in force, because something else in
// it has changed. Before the first release there is nothing to do: that one
// will have it.
func (f *follower) renew(reason string) {
	if c := f.change; c != nil {
		c.last = time.Now()
		c.release.Reason += ", " + reason
		if c.blamed {
			c.due, c.blamed = c.last, false
		}
		if c.attempt == 0 {
			c.due = f.pace.Due(c.first, c.last, f.prev, c.release.Urgent, c.u)
		}
		return
	}
	rel, epoch := f.view.release()
	if rel.Mode == fleet.ModeNone {
		return
	}
	rel.Reason = reason
	f.schedule(rel, epoch)
}

// reanswer schedules a release if nginx answers challenges in another way than
// it should; the active one may have been made with the newest answer.
func (f *follower) reanswer() {
	if !f.view.current().Challenges.Same(f.challenges()) {
		f.renew("HTTP-01 challenges are answered for another ACME account key")
	}
}
