package renderer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// asideName is where a link is while nginx is tested without it; removed as
// half-written by the next agent.
const asideName = linkPrefix + "aside"

// Startable reports whether nginx can start with the current release. The
// error is nginx's verdict, if nginx takes its configuration without the
// release. A configuration that it refuses in any case is the operator's to
// mend, and one that cannot be tested says nothing: nil for both.
func (r *Renderer) Startable(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var refused *refusal
	if err := r.test(ctx, r.cfg.ConfigFile); !errors.As(err, &refused) {
		return nil
	}
	if err := r.putAside(currentLink); err != nil {
		return errors.Join(refused, err)
	}
	without := r.test(ctx, r.cfg.ConfigFile)
	dir := r.cfg.releasesDir()
	err := os.Rename(filepath.Join(dir, asideName), filepath.Join(dir, currentLink))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(refused, err)
	}
	if without != nil {
		r.cfg.Log.Error("nginx cannot start whatever the release", "err", without)
		return nil
	}
	return refused
}

// StepAside lets nginx start without any release, keys of its own and no
// servers of tlsfleet: the last resort at boot.
func (r *Renderer) StepAside() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.forget(currentLink); err != nil {
		return fmt.Errorf("step aside: %w", err)
	}
	return nil
}

// putAside takes a link, or what others have put into its place, away.
func (r *Renderer) putAside(link string) error {
	aside := filepath.Join(r.cfg.releasesDir(), asideName)
	if err := os.RemoveAll(aside); err != nil {
		return err
	}
	err := os.Rename(filepath.Join(r.cfg.releasesDir(), link), aside)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (r *Renderer) forget(link string) error {
	r.placed = nil
	if err := r.putAside(link); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(filepath.Join(r.cfg.releasesDir(), asideName)), syncDir(r.cfg.releasesDir()))
}

// forgetBroken takes the links away whose release cannot be read, so that it
// counts as none.
func (r *Renderer) forgetBroken() error {
	for _, link := range []string{currentLink, goodLink} {
		number, err := r.linked(link)
		if err == nil && number != 0 {
			_, err = r.manifest(number)
		}
		if err == nil {
			continue
		}
		r.cfg.Log.Error("forgetting a damaged release", "link", link, "err", err)
		if err := r.forget(link); err != nil {
			return err
		}
	}
	return nil
}
