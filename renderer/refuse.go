package renderer

import (
	"context"
	"errors"
	"fmt"
)

// testStaged runs nginx -t with a staged release in the place of the current
// one, before anything is changed. A *refusal is nginx's verdict on the
// release or on the operator's configuration; errNoMirror means that it
// cannot be had before the flip.
func (r *Renderer) testStaged(ctx context.Context, number uint64) (err error) {
	c, err := r.parse()
	if err != nil {
		return fmt.Errorf("%w: %w", errNoMirror, err)
	}
	m, err := newMirror(c, r.cfg.mirrorDir(number))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.remove()) }()
	target := r.cfg.releaseDir(number)
	if err := m.make(target); err != nil {
		return fmt.Errorf("%w: %w", errNoMirror, err)
	}
	verdict := r.test(ctx, m.main)
	var refused *refusal
	if !errors.As(verdict, &refused) {
		return verdict
	}
	refused.text = m.original(refused.text, target)
	return r.blame(ctx, m, refused)
}

// blame finds out what a refusal in the mirror is about. It is not believed
// when the mirror refuses even what nginx itself accepts.
func (r *Renderer) blame(ctx context.Context, m *mirror, refused *refusal) error {
	current, err := r.linked(currentLink)
	if err != nil {
		return err
	}
	target := ""
	if current != 0 {
		target = r.cfg.releaseDir(current)
	}
	if err := m.make(target); err != nil {
		return fmt.Errorf("%w: %w", errNoMirror, err)
	}
	var baseline *refusal
	if err := r.test(ctx, m.main); !errors.As(err, &baseline) {
		return errors.Join(err, refused)
	}
	err = r.test(ctx, r.cfg.ConfigFile)
	switch {
	case err == nil:
		return fmt.Errorf("%w: the mirror is refused where the configuration is not: %s", errNoMirror, baseline.text)
	case errors.As(err, &baseline):
		return &refusal{text: refused.text + "; without the new release: " + baseline.text}
	}
	return err
}
