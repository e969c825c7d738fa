package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/handlers"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// How soon a node tries again.
const (
	proveSoon  = time.Second      // an unproved release, then twice as long each time
	proveLate  = 15 * time.Second // but no longer
	retryFirst = 5 * time.Second  // a release that could not be applied
	retryMost  = 5 * time.Minute  // the same, again and again
	cutOffLook = 10 * time.Second // whether a cut-off node's key has become stale
)

// follower keeps this node's nginx on the fleet's ring: it follows the ring in
// KV, decides by package handlers and lets the renderer act.
type follower struct {
	log        hclog.Logger
	store      *store.Store
	renderer   *renderer.Renderer
	view       *view
	problems   *problems
	pace       handlers.Pace
	reprove    time.Duration
	staleAfter time.Duration
	ringRead   func()                     // called after every ring that was read
	tls        func() renderer.TLSServers // what a release serves besides the ring
	asked      reloadRequest
	recovered  chan struct{} // closed by Run when what a crash left behind is mended

	mail    mailbox[store.RingRecord]
	cutOff  bool
	contact contactTime
	strange int // proofs in a row that found nginx on another release
	change  *change
	prev    time.Time // last reload
	proveAt time.Time

	proveWait time.Duration // until the next proof, growing while there is none
}

// change is a release that waits for its time.
type change struct {
	release     renderer.Release
	epoch       uint64
	first, last time.Time
	u           float64 // this batch's place in the splay
	due         time.Time
	attempt     int
}

// Run follows until ctx ends. It starts by mending what a crash left behind.
func (f *follower) Run(ctx context.Context) error {
	f.mail.wake = newWake()
	f.recover(ctx)
	close(f.recovered)
	watched := make(chan error, 1)
	go func() { watched <- f.store.WatchRing(ctx, f.mail.put) }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case err := <-watched:
			return err
		case <-f.mail.wake:
			f.look()
		case <-f.asked.wake:
			f.renew(f.asked.take())
		case <-timer.C:
		}
		f.act(ctx)
		timer.Reset(time.Until(f.nextTime()))
	}
}

// nextTime is when there may be something to do without any news.
func (f *follower) nextTime() time.Time {
	next := f.proveAt
	if f.change != nil && f.change.due.Before(next) {
		next = f.change.due
	}
	if look := time.Now().Add(cutOffLook); f.cutOff && look.Before(next) {
		next = look
	}
	return next
}

// recover mends the node at the start: interrupted releases, lost key files.
func (f *follower) recover(ctx context.Context) {
	f.refresh(ctx, func() {})
	if ring, _ := f.view.own(); ring != nil {
		if err := f.renderer.WriteKeys(*ring); err != nil {
			f.log.Error("ticket keys not restored", "err", err)
		}
	}
	out, err := f.renderer.Recover(ctx)
	f.finish(ctx, out, err)
}

// look decides about what the watch has read.
func (f *follower) look() {
	rec, err := f.mail.take()
	if rec != nil {
		f.decide(*rec)
		f.ringRead()
	}
	f.judge(err)
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
	f.schedule(renderer.Release{Mode: plan.Mode, Ring: rec.Ring, Sealed: rec.Sealed, Reason: plan.Reason, Urgent: plan.Urgent}, rec.Ring.Epoch)
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

// act does what is due.
func (f *follower) act(ctx context.Context) {
	if f.cutOff {
		f.considerStale()
	}
	now := time.Now()
	switch {
	case ctx.Err() != nil:
	case f.change != nil && !now.Before(f.change.due):
		f.apply(ctx)
	case !now.Before(f.proveAt):
		f.prove(ctx)
	}
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

// apply carries the change out that waits.
func (f *follower) apply(ctx context.Context) {
	c := f.change
	if err := f.accept(c.epoch); err != nil {
		f.log.Error("epoch not recorded", "epoch", c.epoch, "err", err)
	}
	f.log.Debug("applying", "reason", c.release.Reason, "epoch", c.epoch)
	c.release.TLS = f.tls()
	out, err := f.renderer.Apply(ctx, c.release)
	f.prev = time.Now()
	done := f.finish(ctx, out, err)
	if done {
		f.change = nil
		return
	}
	c.attempt++
	wait := min(retryFirst<<min(c.attempt-1, 10), retryMost)
	c.due = time.Now().Add(wait)
	f.log.Warn("release not applied", "reason", c.release.Reason, "result", string(out.Reload.Result), "attempt", c.attempt, "next", wait, "err", err)
}

// accept raises the highest epoch that this node ever accepted.
func (f *follower) accept(epoch uint64) error {
	if epoch == 0 {
		return nil
	}
	f.view.update(func() { f.view.high = max(f.view.high, epoch) })
	return f.renderer.SetHighWater(epoch)
}

// prove shows again that nginx serves the active release.
func (f *follower) prove(ctx context.Context) {
	if ring, _ := f.view.own(); ring != nil {
		if err := f.renderer.WriteKeys(*ring); err != nil {
			f.log.Error("ticket keys not repaired", "err", err)
		}
	}
	out, err := f.renderer.Prove(ctx)
	f.seen(ctx, out, err)
	f.overtake(ctx, out)
	f.keepContact()
}

// overtake reloads an nginx that goes on with an older release, as one does that
// read its configuration just before the flip and wrote its pid file after.
func (f *follower) overtake(ctx context.Context, out renderer.Outcome) {
	other := slices.ContainsFunc(out.Problems, func(p fleet.Problem) bool { return p.Code == renderer.CodeReleaseUnserved })
	if !other {
		f.strange = 0
		return
	}
	f.strange++
	if f.strange < 2 || ctx.Err() != nil {
		return
	}
	f.strange = 0
	f.log.Warn("nginx serves another release, bringing it to the active one")
	out, err := f.renderer.Recover(ctx)
	f.finish(ctx, out, err)
}

// keepContact remembers that Consul could be reached until now.
func (f *follower) keepContact() {
	if f.cutOff {
		return
	}
	if err := f.contact.touch(); err != nil {
		f.log.Warn("time of the last contact with consul not saved", "err", err)
	}
}

// finish takes the outcome of a release into the view and says whether it is
// in place. What was wrong with one that is not stays visible until it is.
func (f *follower) finish(ctx context.Context, out renderer.Outcome, err error) bool {
	if ctx.Err() != nil {
		return false // stopping: what is half done is mended at the next start
	}
	done := inPlace(out, err)
	switch {
	case done:
		f.problems.replace("release")
	case err != nil:
		f.problems.replace("release", append(out.Problems, failure("release-failed", err))...)
	default:
		f.problems.replace("release", out.Problems...)
	}
	if !done {
		out.Problems = nil // told as those of the release
	}
	f.proveWait = proveSoon
	f.seen(ctx, out, nil)
	return done
}

// seen takes into the view what nginx was seen to serve.
func (f *follower) seen(ctx context.Context, out renderer.Outcome, err error) {
	if ctx.Err() != nil {
		return
	}
	f.refresh(ctx, func() {
		if !out.Reload.At.IsZero() {
			f.view.reload = out.Reload
		}
		f.view.proofs = out.Listeners
		f.view.proved = 0
		if out.Proved && f.view.active.Mode == fleet.ModeRing {
			f.view.proved = f.view.active.Epoch
		}
	})
	list := out.Problems
	if err != nil {
		list = append(list, failure("not-proved", err))
	}
	if f.view.state().Mode == fleet.ModePerHost {
		list = append(list, fleet.Problem{
			Code: "per-host-keys", Severity: fleet.Alarm,
			Message: "nginx seals with keys of its own: tickets from this node are opened nowhere else",
			Hint:    "the fleet's ring is used again once Consul can be reached",
		})
	}
	f.problems.replace("renderer", list...)
	if out.Proved {
		f.proveWait = f.reprove
	}
	f.proveAt = time.Now().Add(f.proveWait)
	f.proveWait = min(2*f.proveWait, proveLate, f.reprove)
}

// failure is an error of the renderer as a problem.
func failure(code string, err error) fleet.Problem {
	p := fleet.Problem{Code: code, Severity: fleet.Alarm, Message: err.Error()}
	if errors.Is(err, renderer.ErrNotNginx) {
		p.Code = renderer.CodeNginxMisidentified
		p.Hint = "nothing is signalled; compare pid_file with nginx's pid directive"
	}
	return p
}

// inPlace reports whether the release is active, proved or not.
func inPlace(out renderer.Outcome, err error) bool {
	return err == nil && (out.Reload.Result == fleet.ReloadOK || out.Reload.Result == fleet.ReloadNotRunning)
}

// refresh reads from disk what is active and takes it into the view in one
// step with what else is known, so that no report mixes before and after.
func (f *follower) refresh(ctx context.Context, also func()) {
	active, err := f.renderer.Active()
	if err != nil {
		f.log.Error("active release unreadable", "err", err)
		f.view.update(also)
		return
	}
	var ring *fleet.Ring
	if len(active.Sealed) > 0 {
		r, err := f.store.OpenRing(active.Sealed)
		if err != nil {
			f.log.Error("local copy of the ring refused", "err", err)
		} else {
			ring = &r
		}
	}
	high, err := f.renderer.HighWater()
	if err != nil {
		f.log.Error("highest epoch unreadable", "err", err)
	}
	version, err := f.renderer.NginxVersion(ctx)
	if err != nil {
		f.log.Debug("nginx does not tell its version", "err", err)
	}
	f.view.update(func() {
		f.view.active, f.view.ring = active, ring
		f.view.high = max(f.view.high, high, active.Epoch)
		if version != "" {
			f.view.nginx = version
		}
		also()
	})
}
