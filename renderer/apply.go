package renderer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Apply puts a release in force and proves it. The Outcome says how it ended;
// the error is non-nil only when that could not be found out or nothing could
// be tried: a disk error, a pid file that names something else (ErrNotNginx),
// an end of ctx. After an error before the flip nothing has changed; after
// one behind it, Recover finishes or takes back.
//
// nginx can be started at any moment: the release is tested before current is
// flipped to it. An urgent release takes up to OldWorkerLimit longer, because
// it is done when no old worker holds replaced keys in memory.
func (r *Renderer) Apply(ctx context.Context, rel Release) (Outcome, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &change{began: time.Now(), m: manifest{Mode: rel.Mode, Reason: rel.Reason}}
	o, err := r.apply(ctx, c, rel)
	if err == nil {
		r.cfg.Log.Info("release ended", "release", o.Reload.Release, "epoch", c.m.Epoch,
			"result", o.Reload.Result, "proved", o.Proved, "took", o.Reload.Took)
		return o, nil
	}
	result := fleet.ReloadRejected
	if c.flipped {
		result = fleet.ReloadFailed
	}
	return c.end(result, err), fmt.Errorf("apply release: %w", err)
}

func (r *Renderer) apply(ctx context.Context, c *change, rel Release) (Outcome, error) {
	if err := rel.check(); err != nil {
		return Outcome{}, err
	}
	master, err := r.master(ctx)
	running := err == nil
	if err != nil && !errors.Is(err, errNotRunning) {
		return Outcome{}, err
	}
	if err := r.prepare(ctx, c, &rel); err != nil {
		return Outcome{}, errors.Join(err, r.collect())
	}
	if !c.in.Included {
		return r.unincluded(c)
	}
	if running {
		c.before = r.prove(ctx, c.in.Listeners)
	}
	if err := r.activateSites(ctx, c, rel); err != nil {
		var refused *refusal
		if errors.As(err, &refused) {
			return r.rejected(c, refused)
		}
		return Outcome{}, errors.Join(err, r.collect())
	}
	r.lookAgain(c)
	if !running {
		return r.notRunning(c)
	}
	return r.reloadAndVerify(ctx, c, master)
}

// prepare writes keys and the staged release, and looks at nginx's configuration.
func (r *Renderer) prepare(ctx context.Context, c *change, rel *Release) error {
	if rel.Mode == fleet.ModeRing {
		if err := r.writeKeys(rel.Ring); err != nil {
			return err
		}
	}
	r.step(StepKeysWritten)
	c.in = r.inspection()
	if err := r.readyTLS(c, rel); err != nil {
		return err
	}
	var err error
	if c.back, err = r.linked(currentLink); err != nil {
		return err
	}
	c.hasBack = true
	return r.stageChange(ctx, c, *rel)
}

// stageChange writes the release into its folder.
func (r *Renderer) stageChange(ctx context.Context, c *change, rel Release) error {
	b, err := r.build(ctx)
	if err != nil {
		r.cfg.Log.Debug("nginx does not tell its version", "err", err)
	}
	c.from = rel.Sites
	if c.m, c.sites, err = r.stage(rel, c.in, b.version); err != nil {
		return err
	}
	r.step(StepStaged)
	return nil
}

// activateSites is activate, and again without a site that nginx refuses the
// release for.
func (r *Renderer) activateSites(ctx context.Context, c *change, rel Release) error {
	for tries := 0; ; tries++ {
		err := r.activate(ctx, c)
		var refused *refusal
		if !errors.As(err, &refused) || tries == mostBlamed {
			return err
		}
		if !r.blameSites(rel.Sites, c.m.Sites, c.sites, refused.text) {
			found, findErr := r.findSite(ctx, c, rel, refused)
			if findErr != nil {
				r.cfg.Log.Warn("no site looked for that the release was refused for", "release", c.m.Release, "err", findErr)
			}
			if !found {
				return err
			}
		}
		r.cfg.Log.Warn("release refused for a site, leaving it out", "release", c.m.Release, "err", refused)
		if err := os.RemoveAll(r.cfg.releaseDir(c.m.Release)); err != nil {
			return fmt.Errorf("remove release %d: %w", c.m.Release, err)
		}
		if err := r.stageChange(ctx, c, rel); err != nil {
			return err
		}
	}
}

// activate tests the staged release and makes it current. Where it cannot be
// tested before, it is tested after the flip and flipped back at once.
func (r *Renderer) activate(ctx context.Context, c *change) error {
	tested := r.testStaged(ctx, c.m.Release)
	switch {
	case errors.Is(tested, errNoMirror):
		if !r.warnedMirror {
			r.warnedMirror = true
			r.cfg.Log.Warn("testing releases after the flip", "err", tested)
		}
	case tested != nil:
		return tested
	default:
		r.step(StepTested)
	}
	if err := r.setCurrent(c.m.Release); err != nil {
		return err
	}
	c.flipped = true
	r.step(StepFlipped)
	if tested == nil {
		return nil
	}
	if err := r.test(ctx, r.cfg.ConfigFile); err != nil {
		c.flipped = false
		return errors.Join(err, r.setCurrent(c.back))
	}
	r.step(StepTested)
	return nil
}

// setCurrent flips current to a release; 0 removes it, which nginx takes as
// an include without files.
func (r *Renderer) setCurrent(number uint64) error {
	r.placed = nil
	if number == 0 {
		return unlink(r.cfg.releasesDir(), currentLink)
	}
	return flip(r.cfg.releasesDir(), currentLink, strconv.FormatUint(number, 10))
}

// rejected ends a release that nginx refused: nothing has changed.
func (r *Renderer) rejected(c *change, refused *refusal) (Outcome, error) {
	c.refused = r.blamed(refused.text, c.began)
	o := c.end(fleet.ReloadRejected, refused)
	o.Problems = append(o.Problems, problem(CodeReleaseRejected, fleet.Alarm, refused.Error(),
		"nginx keeps running as before; mend the configuration and run nginx -t"))
	return o, errors.Join(r.markBad(c.m.Release, refused.text), r.collect())
}

// unincluded puts a release in place for the moment the operator adds the
// include. nginx does not read it, so there is nothing to test or signal.
func (r *Renderer) unincluded(c *change) (Outcome, error) {
	if err := r.setCurrent(c.m.Release); err != nil {
		return Outcome{}, err
	}
	r.step(StepFlipped)
	return c.end(fleet.ReloadRejected, ErrNotIncluded), r.collect()
}

// notRunning ends a release that waits for nginx to be started.
func (r *Renderer) notRunning(c *change) (Outcome, error) {
	o := c.end(fleet.ReloadNotRunning, nil)
	o.Problems = append(o.Problems, problem(CodeNginxNotRunning, fleet.Warning,
		"nginx is not running; the release is in place and accepted by nginx -t", "start nginx"))
	if c.m.Urgent {
		// Nothing may go back to the replaced keys.
		return o, r.markGood(c.m.Release)
	}
	return o, r.collect()
}

// lookAgain finds the listeners of a release that has become current: its own
// servers may listen where nothing did before.
func (r *Renderer) lookAgain(c *change) {
	if in := r.inspection(); in.parsed {
		c.in.Listeners = in.Listeners
	}
}
