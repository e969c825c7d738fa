package renderer

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
)

// bundleFile is one file of a bundle.
type bundleFile struct {
	name string
	text []byte
	perm fs.FileMode
}

// maker makes the files and folders of many bundles. What the first of a kind
// needs to have its group and mode, all others need: they come from the same
// process into folders of the same parent. It has one user at a time.
type maker struct {
	store folder
	gid   int
	look  bool            // whether a bundle is in place already
	sync  bool            // makes files and folders durable one by one
	needs map[string]need // by the name in the bundle; the bundle itself is ""

	series     bundle.Series
	chain, key []byte // the files of the bundle that is made
}

// need is what is not right of something new; umask, set-group-ID and default
// ACLs of the parent decide.
type need struct{ owner, mode bool }

// file writes a file into a new folder of the store. Mode and group are those
// that it keeps, from the first byte on, where umask and parent let them.
func (m *maker) file(dir string, f bundleFile) (err error) {
	path := dir + "/" + f.name
	var fd int
	err = uninterrupted(func() (err error) {
		fd, err = unix.Openat(m.store.fd, path, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, uint32(f.perm))
		return err
	})
	if err != nil {
		return &fs.PathError{Op: "open", Path: m.store.in(path), Err: err}
	}
	defer func() {
		if closeErr := unix.Close(fd); err == nil && closeErr != nil {
			err = &fs.PathError{Op: "close", Path: m.store.in(path), Err: closeErr}
		}
	}()
	if err := m.fill(fd, f); err != nil {
		return &fs.PathError{Op: "write", Path: m.store.in(path), Err: err}
	}
	return nil
}

// fill is file with an open one: an os.File costs as much as the file itself.
func (m *maker) fill(fd int, f bundleFile) error {
	n, err := m.need(f.name, f.perm, func(st *unix.Stat_t) error { return unix.Fstat(fd, st) })
	if err == nil && n.owner {
		err = unix.Fchown(fd, -1, m.gid)
	}
	if err == nil && n.mode {
		err = unix.Fchmod(fd, uint32(f.perm))
	}
	for text := f.text; err == nil && len(text) > 0; {
		err = uninterrupted(func() error {
			n, err := unix.Write(fd, text)
			text = text[max(n, 0):]
			return err
		})
	}
	if err != nil || !m.sync {
		return err
	}
	return uninterrupted(func() error { return unix.Fsync(fd) })
}

// folder makes a folder in the store that is known by a name in the bundle.
func (m *maker) folder(path, name string, perm fs.FileMode) error {
	if err := uninterrupted(func() error { return unix.Mkdirat(m.store.fd, path, uint32(perm)) }); err != nil {
		return &fs.PathError{Op: "mkdir", Path: m.store.in(path), Err: err}
	}
	n, err := m.need(name, perm, func(st *unix.Stat_t) error {
		return unix.Fstatat(m.store.fd, path, st, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err == nil && n.owner {
		err = unix.Fchownat(m.store.fd, path, -1, m.gid, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err == nil && n.mode {
		err = unix.Fchmodat(m.store.fd, path, uint32(perm), 0)
	}
	if err != nil {
		return &fs.PathError{Op: "set access", Path: m.store.in(path), Err: err}
	}
	return nil
}

// need looks at the first of a kind.
func (m *maker) need(name string, perm fs.FileMode, look func(*unix.Stat_t) error) (need, error) {
	if n, known := m.needs[name]; known {
		return n, nil
	}
	var st unix.Stat_t
	if err := look(&st); err != nil {
		return need{}, err
	}
	n := need{owner: int(st.Gid) != m.gid, mode: fs.FileMode(st.Mode).Perm() != perm}
	m.needs[name] = n
	return n, nil
}

// uninterrupted calls do again as long as a signal ends it (signal(7)).
func uninterrupted(do func() error) error {
	for {
		if err := do(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// setAccess sets owner, group and mode where they are others.
func setAccess(path string, gid int, perm fs.FileMode) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	uid, known := ownerOf(info)
	have, ok := groupOf(info)
	if !ok || have != gid || known && uid != os.Geteuid() {
		if err := os.Lchown(path, os.Geteuid(), gid); err != nil {
			return err
		}
	}
	if info.Mode().Perm() == perm {
		return nil
	}
	return os.Chmod(path, perm)
}

// syncAll makes the whole file system of a folder durable.
func syncAll(dir string) (err error) {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync file system: %w", err)
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("sync file system: %w", err)
	}
	return nil
}

// keepBundle reports whether a bundle is in the store as it has to be. Only
// modes and groups are mended in place, because nginx takes a file of the same
// inode and time for the same (ssl_certificate_cache).
func (r *Renderer) keepBundle(store folder, name string, files []bundleFile) (bool, error) {
	mode, err := store.mode(name)
	if mode == 0 || err != nil {
		return false, err
	}
	dir := store.in(name)
	if mode != unix.S_IFDIR {
		return false, nil // settleIn tells
	}
	if !holds(dir, files) {
		r.cfg.Log.Warn("replacing a bundle that was changed by others", "path", dir)
		return false, nil
	}
	for _, f := range files {
		if err := setAccess(filepath.Join(dir, f.name), *r.group, f.perm); err != nil {
			return false, err
		}
	}
	if err := setAccess(filepath.Join(dir, rootDir), *r.group, 0o750); err != nil {
		return false, err
	}
	return true, setAccess(dir, *r.group, 0o710)
}

// holds reports whether a folder has exactly the files and an empty root.
func holds(dir string, files []bundleFile) bool {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(files)+1 {
		return false
	}
	for _, f := range files {
		info, err := os.Lstat(filepath.Join(dir, f.name))
		if err != nil || !info.Mode().IsRegular() || info.Size() != int64(len(f.text)) {
			return false
		}
		text, err := os.ReadFile(filepath.Join(dir, f.name))
		if err != nil || !bytes.Equal(text, f.text) {
			return false
		}
	}
	info, err := os.Lstat(filepath.Join(dir, rootDir))
	if err != nil || !info.IsDir() {
		return false
	}
	inside, err := os.ReadDir(filepath.Join(dir, rootDir))
	return err == nil && len(inside) == 0
}

// settleIn is settle for names in one folder.
func (r *Renderer) settleIn(f folder, temp, name string) error {
	if unix.Renameat2(f.fd, temp, f.fd, name, unix.RENAME_NOREPLACE) == nil {
		return nil
	}
	if mode, err := f.mode(name); err == nil && mode != 0 && mode != unix.S_IFDIR {
		r.cfg.Log.Warn("replacing what others put in the place of a bundle", "path", f.in(name))
	}
	return r.settle(f.in(temp), f.in(name))
}

// settle renames a staged folder or link to its place. What is there already
// is exchanged in one step and removed.
func (r *Renderer) settle(temp, path string) error {
	err := unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.EEXIST) {
		err = unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, path, unix.RENAME_EXCHANGE)
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		// A file system that can neither: there is a moment without the folder.
		err = errors.Join(os.RemoveAll(path), os.Rename(temp, path))
	}
	if err != nil {
		return errors.Join(&os.LinkError{Op: "rename", Old: temp, New: path, Err: err}, os.RemoveAll(temp))
	}
	return os.RemoveAll(temp)
}
