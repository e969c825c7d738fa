package renderer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Prove looks once more, from outside, whether nginx serves the active
// release, and changes nothing in nginx. A release that was waiting for nginx
// to start and is served now becomes good. Without any release it returns a
// zero Outcome. Reload is zero but for Result not-running.
func (r *Renderer) Prove(ctx context.Context) (Outcome, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	current, err := r.linked(currentLink)
	if err != nil || current == 0 {
		return Outcome{}, err
	}
	m, err := r.manifest(current)
	if err != nil {
		return Outcome{}, fmt.Errorf("prove release: %w", err)
	}
	c := &change{m: m, began: time.Now(), in: r.inspection()}
	o, err := r.look(ctx, c)
	if err != nil {
		return o, fmt.Errorf("prove release %d: %w", current, err)
	}
	return o, nil
}

func (r *Renderer) look(ctx context.Context, c *change) (Outcome, error) {
	o := Outcome{Problems: c.in.Problems}
	missing, err := r.missingKeys(c.m)
	if err != nil {
		return o, err
	}
	if len(missing) > 0 {
		o.Problems = append(o.Problems, keysMissing(missing))
	}
	if _, err := r.master(ctx); err != nil {
		if !errors.Is(err, errNotRunning) {
			return o, err
		}
		o.Reload.Result = fleet.ReloadNotRunning
		o.Problems = append(o.Problems, problem(CodeNginxNotRunning, fleet.Warning, "nginx is not running", "start nginx"))
		return o, nil
	}
	got, err := answer(ctx, r.address(c.m))
	served := err == nil && got == c.m.Release
	if !served {
		o.Problems = append(o.Problems, unserved(c.m.Release, got, err))
	}
	ps := r.prove(ctx, c.in.Listeners)
	if ctx.Err() != nil {
		return o, ctx.Err()
	}
	o = o.with(ps, c.m, c.in)
	o.Proved = o.Proved && served
	good, err := r.linked(goodLink)
	if err != nil || !served || good == c.m.Release {
		return o, err
	}
	return o, r.markGood(c.m.Release)
}

func unserved(want, got uint64, err error) fleet.Problem {
	message := fmt.Sprintf("nginx serves release %d, not the active release %d", got, want)
	if err != nil {
		message = err.Error()
	}
	return problem(CodeReleaseUnserved, fleet.Alarm, message, "reload nginx and look at its error log")
}
