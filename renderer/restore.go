package renderer

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Restore puts a release in place before nginx starts: keys, files, nginx -t,
// flip. Nothing is signalled. A release that nginx refuses leaves the last
// one in place and is an error; a damaged one counts as none. The error wraps
// ErrNotIncluded when nginx does not read tlsfleet's releases and nothing else
// is wrong; the release is in place even so.
func (r *Renderer) Restore(ctx context.Context, rel Release) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.restore(ctx, rel); err != nil {
		return fmt.Errorf("restore release: %w", err)
	}
	return nil
}

func (r *Renderer) restore(ctx context.Context, rel Release) error {
	if err := rel.check(); err != nil {
		return err
	}
	if err := r.forgetBroken(); err != nil {
		return err
	}
	c := &change{began: time.Now()}
	if err := r.prepare(ctx, c, &rel); err != nil {
		return errors.Join(err, r.collect())
	}
	if !c.in.Included {
		if err := errors.Join(r.setCurrent(c.m.Release), r.collect()); err != nil {
			return err
		}
		return ErrNotIncluded
	}
	if err := r.activateSites(ctx, c, rel); err != nil {
		return errors.Join(err, r.markBad(c.m.Release, err.Error()), r.collect())
	}
	return r.collect()
}
