package renderer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// prefixArguments let another nginx resolve the relative paths outside of its
// configuration, as those of logs, like the master does: the option -p of
// Config, else that of the running master, else the last one seen. None: as
// nginx was built. The caller holds r.mu.
func (r *Renderer) prefixArguments(ctx context.Context) []string {
	if r.cfg.Prefix != "" {
		return []string{"-p", r.cfg.Prefix}
	}
	p, err := r.master(ctx)
	if err == nil {
		r.prefix, err = p.prefix()
	}
	if err != nil && !errors.Is(err, errNotRunning) {
		r.cfg.Log.Debug("nginx's prefix not known", "err", err)
	}
	if r.prefix == "" {
		return nil
	}
	return []string{"-p", r.prefix}
}

// prefix is the absolute path of the option -p; "" without one.
func (p process) prefix() (string, error) {
	given := argument(p.title, 'p')
	if given == "" || filepath.IsAbs(given) {
		return given, nil
	}
	// The master stays in the folder in which it was started.
	dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", p.pid))
	if err != nil {
		return "", fmt.Errorf("find the prefix of nginx: %w", err)
	}
	return filepath.Join(dir, given), nil
}
