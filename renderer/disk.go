package renderer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// makeDir creates dir and its parents; dir itself gets exactly perm.
func makeDir(dir string, perm fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil { //nolint:gosec // parents such as /run and /var/lib
		return fmt.Errorf("create folder: %w", err)
	}
	err := os.Mkdir(dir, perm)
	if err == nil {
		err = os.Chmod(dir, perm) // whatever the umask
	}
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrExist):
		return fmt.Errorf("create folder: %w", err)
	}
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return fmt.Errorf("use folder: %w", err)
	case !info.IsDir():
		return fmt.Errorf("use folder %s: not a folder", dir)
	case info.Mode().Perm()&^perm == 0:
		return nil
	}
	if err := os.Chmod(dir, info.Mode().Perm()&perm); err != nil {
		return fmt.Errorf("narrow folder: %w", err)
	}
	return nil
}

// writeFile replaces path by rename and makes both the file and the rename
// durable.
func writeFile(path string, data []byte, perm fs.FileMode) error {
	return writeEach(filepath.Dir(path), map[string][]byte{filepath.Base(path): data}, perm)
}

// writeEach is writeFile for some files of one folder, by name.
func writeEach(dir string, files map[string][]byte, perm fs.FileMode) error {
	for name, data := range files {
		if err := replaceFile(filepath.Join(dir, name), data, perm); err != nil {
			return fmt.Errorf("write file: %w", err)
		}
	}
	return syncDir(dir)
}

// writeFiles is writeEach for many: their file system is synchronized once.
// Until then all former files are in place.
func writeFiles(dir string, files map[string][]byte, perm fs.FileMode) (err error) {
	temp := func(name string) string { return filepath.Join(dir, "."+name) }
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write files: %w", err), removeMatching(dir, func(name string) bool { return name[0] == '.' }))
		}
	}()
	for name, data := range files {
		if err := os.WriteFile(temp(name), data, perm); err != nil {
			return err
		}
	}
	if err := syncAll(dir); err != nil {
		return err
	}
	for name := range files {
		if err := os.Rename(temp(name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return syncDir(dir)
}

// replaceFile gives the file the mode of perm whatever the one it replaces has,
// which renameio.WriteFile does not.
func replaceFile(path string, data []byte, perm fs.FileMode) (err error) {
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(perm))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Cleanup()) }()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}

// replaceSoon replaces path by rename, durable whenever the system gets to it.
func replaceSoon(path string, data []byte, perm fs.FileMode) error {
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	err := os.WriteFile(temp, data, perm)
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err == nil {
		return nil
	}
	if gone := os.Remove(temp); !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}

// flip points the symlink link at target, both names in dir, with one rename.
func flip(dir, link, target string) error {
	temp := filepath.Join(dir, linkPrefix+link)
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("flip %s: %w", link, err)
	}
	if err := os.Symlink(target, temp); err != nil {
		return fmt.Errorf("flip %s: %w", link, err)
	}
	if err := os.Rename(temp, filepath.Join(dir, link)); err != nil {
		return errors.Join(fmt.Errorf("flip %s: %w", link, err), os.Remove(temp))
	}
	return syncDir(dir)
}

// unlink removes a symlink; a missing one is fine.
func unlink(dir, link string) error {
	if err := os.Remove(filepath.Join(dir, link)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", link, err)
	}
	return syncDir(dir)
}

// syncDir makes renames inside dir durable (renameio does not).
func syncDir(dir string) error {
	if err := syncFile(dir); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}

// syncFile makes a file or a folder durable that is there.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// checkTmpfs refuses a folder whose files would reach a disk (statfs(2)).
func checkTmpfs(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("examine file system of %s: %w", dir, err)
	}
	switch int64(st.Type) { //nolint:unconvert // int32 on some systems
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC:
		return nil
	}
	return fmt.Errorf("keep ticket keys in %s: %w (file system type %#x)", dir, ErrNotTmpfs, st.Type)
}
