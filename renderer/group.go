package renderer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// buildTimeout bounds the question to the binary for its default group.
const buildTimeout = 5 * time.Second

// workerGroup is the group nginx gives its workers (directive user, whose
// second parameter is by default a group of the user's name), or that of
// Config. An nginx that is not started by root keeps the group it has.
func (r *Renderer) workerGroup(c *config) (gid int, err error) {
	name := r.cfg.WorkerGroup
	if name == "" && os.Geteuid() != 0 {
		return os.Getegid(), nil
	}
	if name == "" && c != nil {
		name = c.workerGroup()
	}
	if name == "" {
		if name, err = r.builtInGroup(); err != nil {
			return 0, err
		}
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("find group of nginx's workers: %w", err)
	}
	if gid, err = strconv.Atoi(g.Gid); err != nil {
		return 0, fmt.Errorf("find group of nginx's workers: %s has the id %q", name, g.Gid)
	}
	return gid, nil
}

// builtInGroup is the group of workers without a directive user: the one nginx
// was built with, else what nginx's configure takes, nobody or nogroup. It is
// asked once for a configuration without a user, so it bounds itself.
//
//nolint:contextcheck // see above
func (r *Renderer) builtInGroup() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	b, err := r.build(ctx)
	if err != nil {
		return "", fmt.Errorf("find group of nginx's workers: %w", err)
	}
	if b.group != "" {
		return b.group, nil
	}
	if _, err := user.LookupGroup("nobody"); err == nil {
		return "nobody", nil
	}
	return "nogroup", nil
}

// workerGroup is what the configuration says; "" if nothing.
func (c *config) workerGroup() string {
	for _, d := range c.root() {
		if d.Directive.Directive == "user" && len(d.Args) > 0 {
			return d.Args[len(d.Args)-1]
		}
	}
	return ""
}

// admit lets the workers' group, and nobody else, reach the certificates. c is
// nginx's configuration, or nil to read it if the group is not yet known. The
// caller holds r.certs.
func (r *Renderer) admit(c *config) error {
	if c == nil && r.group != nil {
		return r.mendFolders()
	}
	if c == nil {
		var err error
		if c, err = r.parse(); err != nil {
			// nginx cannot be started from it either.
			r.cfg.Log.Warn("guessing the group of nginx's workers", "err", err)
			c = nil
		}
	}
	gid, err := r.workerGroup(c)
	if err != nil {
		return err
	}
	if r.group != nil && *r.group == gid {
		return r.mendFolders()
	}
	if err := makeFolders(r.cfg.storeDir(), r.cfg.liveDir()); err != nil {
		return err
	}
	if err := r.regroup(gid); err != nil {
		return fmt.Errorf("give certificates to the group of nginx's workers: %w", err)
	}
	r.group = &gid
	return nil
}

// makeFolders makes the folders that nginx's workers pass through.
func makeFolders(dirs ...string) error {
	for _, dir := range dirs {
		if err := makeDir(dir, 0o710); err != nil {
			return err
		}
	}
	return nil
}

// mendFolders makes folders again that others have removed.
func (r *Renderer) mendFolders() error {
	for _, dir := range []string{r.cfg.storeDir(), r.cfg.liveDir()} {
		if _, err := os.Lstat(dir); err == nil {
			continue
		}
		r.cfg.Log.Warn("making a folder again that others have removed", "path", dir)
		r.fresh = nil
		if err := errors.Join(makeFolders(dir), setGroup(dir, *r.group)); err != nil {
			return err
		}
	}
	return nil
}

// regroup gives every folder on the way, and every bundle if the store's
// group is another, to a group.
func (r *Renderer) regroup(gid int) error {
	info, err := os.Lstat(r.cfg.storeDir())
	if err != nil {
		return err
	}
	if have, ok := groupOf(info); ok && have != gid {
		entries, err := os.ReadDir(r.cfg.storeDir())
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := regroupBundle(filepath.Join(r.cfg.storeDir(), e.Name()), gid); err != nil {
				return err
			}
		}
	}
	// The store last: its group says that all is done.
	for _, dir := range []string{r.cfg.StateDir, r.cfg.liveDir(), r.cfg.storeDir()} {
		if err := setGroup(dir, gid); err != nil {
			return err
		}
	}
	return nil
}

// regroupBundle gives one bundle to a group. What is not there is left out.
func regroupBundle(dir string, gid int) error {
	for _, name := range []string{fullchainFile, privkeyFile, rootDir, "."} {
		if err := setGroup(filepath.Join(dir, name), gid); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// setGroup changes a file's group if it is another.
func setGroup(path string, gid int) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if have, ok := groupOf(info); ok && have == gid {
		return nil
	}
	return os.Lchown(path, -1, gid)
}

// ownerOf is the id of the user a file belongs to.
func ownerOf(info fs.FileInfo) (uid int, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(st.Uid), true
}

// groupOf is the id of a file's group.
func groupOf(info fs.FileInfo) (gid int, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(st.Gid), true
}
