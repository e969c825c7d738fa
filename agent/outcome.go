package agent

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// apply carries the change out that waits.
func (f *follower) apply(ctx context.Context) {
	c := f.change
	if err := f.accept(c.epoch); err != nil {
		f.log.Error("epoch not recorded", "epoch", c.epoch, "err", err)
	}
	c.blamed = false
	if reason := f.asked.take(); reason != "" {
		c.release.Reason += ", " + reason // what is asked for from here on may be missing in it
	}
	f.log.Debug("applying", "reason", c.release.Reason, "epoch", c.epoch)
	c.release.TLS, c.release.Challenges, c.release.Sites = f.tls(), f.challenges(), f.sites()
	defer f.processors.Use()()
	began := time.Now()
	if c.attempt == 0 && !c.release.Urgent {
		f.splayed(time.Duration(c.u * float64(f.pace.Splay)))
	}
	out, err := f.renderer.Apply(ctx, c.release)
	f.prev = time.Now()
	done := f.finish(ctx, out, err)
	if done {
		f.change = nil
		f.released(began)
		return
	}
	c.attempt++
	c.blamed = len(out.Refused) > 0
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

// prove shows again that nginx serves the active release. What others have
// changed before the guard has told of it is mended and told first.
func (f *follower) prove(ctx context.Context) {
	if f.releaseLost() || f.keysChanged() {
		f.foreign.note(f.unseenSince(time.Now()))
		f.mend(ctx)
	}
	if f.releaseLost() {
		f.remake()
		return
	}
	if ring, _ := f.view.own(); ring != nil && f.mendAt.IsZero() {
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

// finish takes the outcome of a release into the view and says whether it is
// in place. What was wrong with one that is not stays visible until it is.
func (f *follower) finish(ctx context.Context, out renderer.Outcome, err error) bool {
	if ctx.Err() != nil {
		return false // stopping: what is half done is mended at the next start
	}
	f.refused(out.Refused)
	if out.Reload.Result != fleet.ReloadNone {
		f.reloaded(out.Reload)
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
	if f.proveWait == f.reprove {
		f.proveAt = fleet.Beat(time.Now(), f.reprove)
	}
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
