package renderer

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// errBroken means that a listener gave tickets before and gives none now.
var errBroken = errors.New("a listener broke")

// reloadAndVerify lets nginx read the current release and proves that it did,
// or takes the release back.
func (r *Renderer) reloadAndVerify(ctx context.Context, c *change, master process) (Outcome, error) {
	ps, err := r.reloadOnce(ctx, c, master)
	switch {
	case err == nil:
		return r.accept(ctx, c, master, ps)
	case errors.Is(err, errNotRunning):
		return r.notRunning(c)
	case ctx.Err() != nil || errors.Is(err, ErrNotNginx):
		return Outcome{}, err
	}
	return r.takeBack(ctx, c, master, r.explain(ctx, c, err))
}

// reloadOnce sends HUP and waits for the proof.
func (r *Renderer) reloadOnce(ctx context.Context, c *change, master process) (proofs, error) {
	ws, err := workers(master.pid)
	if err != nil {
		return proofs{}, err
	}
	c.logFrom = logEnd(c.in.errorLog)
	if err := r.reload(ctx, master); err != nil {
		return proofs{}, err
	}
	r.step(StepSignalled)
	ctx, cancel := context.WithTimeout(ctx, r.cfg.VerifyTimeout)
	defer cancel()
	if err := waitGeneration(ctx, master, generationOf(ws)); err != nil {
		return proofs{}, err
	}
	if err := r.waitAnswer(ctx, c.m); err != nil {
		return proofs{}, err
	}
	r.step(StepAnswered)
	ps := r.waitProofs(ctx, c)
	if names := ps.broken(c.before); len(names) > 0 {
		return ps, fmt.Errorf("%w: %s", errBroken, strings.Join(names, "; "))
	}
	return ps, nil
}

// waitProofs makes handshakes until every listener shows the key of the
// release, or nothing better can come, or the time is over: old workers may
// answer for a moment after a reload.
func (r *Renderer) waitProofs(ctx context.Context, c *change) proofs {
	var last proofs
	// The only error is the end of the time, and then the last look counts.
	err := poll(ctx, proveEvery, func(ctx context.Context) (bool, error) {
		ps := r.prove(ctx, c.in.Listeners)
		if ctx.Err() == nil || last.seen == nil {
			last = ps
		}
		return ps.all(c.m.Key) || ps.settled(c.m.Key, c.before), nil
	})
	if err != nil {
		r.cfg.Log.Debug("listeners stay unproved", "release", c.m.Release, "err", err)
	}
	return last
}

// accept ends a release that nginx serves.
func (r *Renderer) accept(ctx context.Context, c *change, master process, ps proofs) (Outcome, error) {
	r.step(StepVerified)
	if err := r.markGood(c.m.Release); err != nil {
		return Outcome{}, err
	}
	r.step(StepGood)
	var old []fleet.Problem
	if c.m.Urgent {
		var err error
		if old, err = r.endOldWorkers(ctx, master); err != nil {
			return Outcome{}, err
		}
	}
	o := c.end(fleet.ReloadOK, nil).with(ps, c.m, c.in)
	o.Problems = append(o.Problems, old...)
	return o, nil
}

// explain adds to a failed verification what nginx -t and nginx's error log
// say, because nginx tells a failed reload to nobody else.
func (r *Renderer) explain(ctx context.Context, c *change, cause error) error {
	var refused *refusal
	if err := r.test(ctx, r.cfg.ConfigFile); errors.As(err, &refused) {
		return fmt.Errorf("%w: %w", cause, refused)
	}
	if c.in.errorLog == "" {
		return cause
	}
	lines, err := logSince(c.in.errorLog, c.logFrom)
	if err != nil || len(lines) == 0 {
		r.cfg.Log.Debug("nothing in nginx's error log", "err", err)
		return cause
	}
	return fmt.Errorf("%w: nginx's error log: %s", cause, strings.Join(lines, "; "))
}

// takeBack makes the release before current again and proves that nginx
// serves it.
func (r *Renderer) takeBack(ctx context.Context, c *change, master process, cause error) (Outcome, error) {
	if !c.hasBack {
		o := c.end(fleet.ReloadFailed, cause)
		o.Problems = append(o.Problems, problem(CodeReleaseUnserved, fleet.Alarm, cause.Error(), hintLog))
		return o, nil
	}
	if err := r.setCurrent(c.back); err != nil {
		return Outcome{}, errors.Join(cause, err)
	}
	r.step(StepTakenBack)
	r.blameSites(c.from, c.m.Sites, c.sites, cause.Error())
	r.cfg.Log.Error("release taken back", "release", c.m.Release, "back_to", c.back, "err", cause)
	result := fleet.ReloadRolledBack
	err := r.proveBack(ctx, c, master)
	if ctx.Err() != nil {
		return Outcome{}, errors.Join(cause, err)
	}
	if err != nil {
		result, cause = fleet.ReloadFailed, fmt.Errorf("%w; and going back to release %d: %w", cause, c.back, err)
	}
	r.step(StepBackProved)
	o := c.end(result, cause)
	o.Problems = append(o.Problems, problem(CodeReleaseRolledBack, fleet.Alarm, cause.Error(), hintLog))
	err = r.markBad(c.m.Release, cause.Error())
	r.step(StepMarkedBad)
	return o, errors.Join(err, r.collect())
}

const hintLog = "nginx's error log says why the reload failed"

// proveBack reloads nginx and waits until it serves the release before. No
// new workers are asked for: a master that could not reload still serves it.
func (r *Renderer) proveBack(ctx context.Context, c *change, master process) error {
	if err := r.reload(ctx, master); err != nil {
		return err
	}
	r.step(StepBackSignalled)
	ctx, cancel := context.WithTimeout(ctx, r.cfg.VerifyTimeout)
	defer cancel()
	if c.back == 0 {
		return r.waitSilence(ctx, c.m)
	}
	back, err := r.manifest(c.back)
	if err != nil {
		return err
	}
	if err := r.waitAnswer(ctx, back); err != nil {
		return err
	}
	names := []string{}
	err = poll(ctx, proveEvery, func(ctx context.Context) (bool, error) {
		names = r.prove(ctx, c.before.listeners).broken(c.before)
		return len(names) == 0, nil
	})
	if err != nil {
		return fmt.Errorf("%w: %s", errBroken, strings.Join(names, "; "))
	}
	return nil
}

// waitSilence waits until nginx no longer serves a release.
func (r *Renderer) waitSilence(ctx context.Context, m manifest) error {
	err := poll(ctx, lookEvery, func(ctx context.Context) (bool, error) {
		got, err := answer(ctx, r.address(m))
		return ctx.Err() == nil && (err != nil || got != m.Release), nil
	})
	if err != nil {
		return fmt.Errorf("wait until release %d is gone: %w", m.Release, err)
	}
	return nil
}
