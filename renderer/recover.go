package renderer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Recover repairs at start whatever an agent that was killed between two
// steps left behind: it finishes the current release (reload, proof) or goes
// back to the last good one. Key files that are gone cannot be made here:
// call WriteKeys with the ring of Active before. Without any release it does
// nothing and returns a zero Outcome.
func (r *Renderer) Recover(ctx context.Context) (Outcome, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o, err := r.repair(ctx)
	if err != nil {
		return o, fmt.Errorf("recover release: %w", err)
	}
	return o, nil
}

func (r *Renderer) repair(ctx context.Context) (Outcome, error) {
	c, err := r.standing()
	if err != nil || c == nil {
		return Outcome{}, err
	}
	if err := r.mendCurrent(ctx, c); err != nil {
		return Outcome{}, err
	}
	if c.m.Release == 0 {
		return Outcome{Problems: c.in.Problems, Refused: c.refused}, nil
	}
	master, err := r.master(ctx)
	if errors.Is(err, errNotRunning) {
		return r.notRunning(c)
	}
	if err != nil {
		return Outcome{}, err
	}
	// One that was never seen good may have been signalled a moment ago, with old
	// workers that still answer: only a reload of our own tells them apart.
	if got, err := answer(ctx, r.address(c.m)); err == nil && got == c.m.Release && !c.hasBack {
		return r.confirm(ctx, c, master)
	}
	if !c.in.Included {
		return c.end(fleet.ReloadRejected, ErrNotIncluded), nil
	}
	c.before = r.prove(ctx, c.in.Listeners)
	return r.reloadAndVerify(ctx, c, master)
}

// standing is the current release as a change to be finished; nil if there is
// none. A current that was lost is taken from good.
func (r *Renderer) standing() (*change, error) {
	if err := r.sweep(); err != nil {
		return nil, err
	}
	current, err := r.linked(currentLink)
	if err != nil {
		return nil, err
	}
	good, err := r.linked(goodLink)
	if err != nil {
		return nil, err
	}
	if current == 0 && good == 0 {
		return nil, nil //nolint:nilnil // no release is no error
	}
	if current == 0 {
		current = good
		if err := r.setCurrent(good); err != nil {
			return nil, err
		}
	}
	m, err := r.manifest(current)
	if err != nil {
		return nil, err
	}
	c := &change{m: m, began: time.Now(), back: good, hasBack: good != current}
	c.in = r.inspection()
	missing, err := r.missingKeys(m)
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		// Without its keys nothing can be said against the release.
		c.hasBack = c.hasBack && good != 0
		c.in.Problems = append(c.in.Problems, keysMissing(missing))
	}
	return c, nil
}

// inspection reads nginx's configuration; one that cannot be parsed gives a
// problem and no listeners.
func (r *Renderer) inspection() Inspection {
	parsed, err := r.parse()
	if err != nil {
		return Inspection{Included: true, Problems: []fleet.Problem{unparsed(err)}}
	}
	return r.inspect(parsed)
}

// mendCurrent makes sure that nginx can start: where it refuses the current
// release and takes the good one, current goes back to that.
func (r *Renderer) mendCurrent(ctx context.Context, c *change) error {
	var refused *refusal
	if err := r.test(ctx, r.cfg.ConfigFile); !errors.As(err, &refused) {
		return err
	}
	c.refused = r.blamed(refused.text, c.began)
	if c.hasBack {
		if err := r.setCurrent(c.back); err != nil {
			return err
		}
		var second *refusal
		err := r.test(ctx, r.cfg.ConfigFile)
		if err == nil {
			return r.goneBack(c, refused)
		}
		if !errors.As(err, &second) {
			return err
		}
		// Going back does not help, so nothing is decided against the release.
		if err := r.setCurrent(c.m.Release); err != nil {
			return err
		}
	}
	c.in.Problems = append(c.in.Problems, problem(CodeConfigRefused, fleet.Alarm, refused.Error(), "mend the configuration and run nginx -t"))
	return nil
}

// goneBack makes the good release the one to be confirmed.
func (r *Renderer) goneBack(c *change, refused *refusal) error {
	bad := c.m.Release
	c.in.Problems = append(c.in.Problems, problem(CodeReleaseRejected, fleet.Alarm, refused.Error(), ""))
	c.hasBack = false
	if err := r.markBad(bad, refused.text); err != nil {
		return err
	}
	if c.back == 0 {
		c.m = manifest{}
		return nil
	}
	m, err := r.manifest(c.back)
	c.m = m
	return err
}

// confirm proves a release that nginx already serves.
func (r *Renderer) confirm(ctx context.Context, c *change, master process) (Outcome, error) {
	c.before = proofs{}
	limited, cancel := context.WithTimeout(ctx, r.cfg.VerifyTimeout)
	defer cancel()
	ps := r.waitProofs(limited, c)
	if ctx.Err() != nil {
		return Outcome{}, ctx.Err()
	}
	return r.accept(ctx, c, master, ps)
}
