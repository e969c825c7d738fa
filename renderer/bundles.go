package renderer

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// syncfsAt is from how many bundles on the whole file system is synchronized
// once instead of each file.
const syncfsAt = 16

// PutBundle writes the files of a bundle into StateDir/store, where they stay
// until CollectBundles. It is not served before SetLive. A bundle that is
// there already is left as it is; one whose files were changed by others is
// replaced as a whole. The bundle is not checked, except that it has the hash.
func (r *Renderer) PutBundle(hash fleet.Hash, b bundle.Bundle) error {
	return r.PutBundles(map[fleet.Hash]bundle.Bundle{hash: b})
}

// PutBundles is PutBundle for several at once, much faster for many. Those
// that cannot be written are named in the error; all others are in place.
func (r *Renderer) PutBundles(bundles map[fleet.Hash]bundle.Bundle) error {
	r.certs.Lock()
	defer r.certs.Unlock()
	if err := r.admit(nil); err != nil {
		return fmt.Errorf("put bundles: %w", err)
	}
	each := len(bundles) < syncfsAt
	var errs []error
	staged := map[fleet.Hash]string{}
	for hash, b := range bundles {
		temp, err := r.stageBundle(hash, b, each)
		if err != nil {
			errs = append(errs, fmt.Errorf("put bundle %s: %w", hash, err))
		} else if temp != "" {
			staged[hash] = temp
		}
		delete(r.orphans, hash)
	}
	if len(staged) == 0 {
		return errors.Join(errs...)
	}
	if !each {
		if err := syncAll(r.cfg.storeDir()); err != nil {
			return errors.Join(append(errs, fmt.Errorf("put bundles: %w", err), r.openTree())...)
		}
	}
	for _, hash := range slices.SortedFunc(maps.Keys(staged), func(a, b fleet.Hash) int { return bytes.Compare(a[:], b[:]) }) {
		if err := r.settle(staged[hash], r.cfg.bundleDir(hash)); err != nil {
			errs = append(errs, fmt.Errorf("put bundle %s: %w", hash, err))
		}
	}
	return errors.Join(append(errs, syncDir(r.cfg.storeDir()))...)
}

// stageBundle writes a bundle's files into a temporary folder in the store; no
// folder if the bundle is in place. sync makes the files durable.
func (r *Renderer) stageBundle(hash fleet.Hash, b bundle.Bundle, sync bool) (temp string, _ error) {
	if got := bundle.Hash(b); got != hash || hash.IsZero() {
		return "", fmt.Errorf("it has the hash %s", got)
	}
	key := bundle.KeyPEM(b).Reveal()
	defer clear(key)
	files := []bundleFile{{fullchainFile, bundle.FullchainPEM(b), 0o644}, {privkeyFile, key, 0o640}}
	if done, err := r.keepBundle(hash, files); done || err != nil {
		return "", err
	}
	return r.fillBundle(files, sync)
}

// fillBundle writes the files into a new temporary folder.
func (r *Renderer) fillBundle(files []bundleFile, sync bool) (string, error) {
	temp, err := os.MkdirTemp(r.cfg.storeDir(), stagePrefix)
	if err != nil {
		return "", err
	}
	for _, f := range files {
		err = errors.Join(err, f.create(temp, *r.group, sync))
	}
	if err == nil {
		err = createDir(filepath.Join(temp, rootDir), *r.group, 0o750)
	}
	if err == nil {
		err = setAccess(temp, *r.group, 0o710)
	}
	if err == nil && sync {
		err = syncDir(temp)
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(temp))
	}
	return temp, nil
}

// keepBundle reports whether the bundle is in the store as it has to be. Only
// modes and groups are mended in place, because nginx takes a file of the same
// inode and time for the same (ssl_certificate_cache).
func (r *Renderer) keepBundle(hash fleet.Hash, files []bundleFile) (bool, error) {
	dir := r.cfg.bundleDir(hash)
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !info.IsDir() || !holds(dir, files) {
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

// settle renames a staged folder or link to its place. What is there already
// is exchanged in one step and removed.
func (r *Renderer) settle(temp, path string) error {
	err := unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
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

// bundleFile is one file of a bundle.
type bundleFile struct {
	name string
	text []byte
	perm fs.FileMode
}

// create writes the file into a folder that nobody else can enter yet.
func (f bundleFile) create(dir string, gid int, sync bool) (err error) {
	file, err := os.OpenFile(filepath.Join(dir, f.name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := file.Write(f.text); err != nil {
		return err
	}
	if err := file.Chown(-1, gid); err != nil {
		return err
	}
	if err := file.Chmod(f.perm); err != nil {
		return err
	}
	if sync {
		return file.Sync()
	}
	return nil
}

func createDir(dir string, gid int, perm fs.FileMode) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return setAccess(dir, gid, perm)
}

// setAccess sets group and mode where they are others.
func setAccess(path string, gid int, perm fs.FileMode) error {
	if err := setGroup(path, gid); err != nil {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Perm() == perm {
		return err
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
