package seal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"
)

// ErrPrivate means that a file is not one that its owner alone can access, or not
// one of a size that makes sense.
var ErrPrivate = errors.New("not a private file")

// ReadPrivate reads a file that nobody else may access. The error wraps ErrPrivate,
// or fs.ErrNotExist if there is none.
func ReadPrivate(path string, limit int64) (text []byte, err error) {
	f, err := os.OpenFile(filepath.Clean(path), os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO would block for ever
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := checkFile(f, ErrPrivate); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if text, err = io.ReadAll(io.LimitReader(f, limit+1)); err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%s: %w: larger than %d bytes", path, ErrPrivate, limit)
	}
	return text, nil
}

// WritePrivate puts text in the file at path, made or replaced by rename, mode
// 0600, its owner as before, on stable storage when it returns.
func WritePrivate(path string, text []byte) error {
	path = filepath.Clean(path)
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return createPrivate(path, text)
	}
	if err != nil {
		return err
	}
	return replace(path, text)
}

// checkFile looks at the open file, so that nobody can swap it in between. Its
// errors wrap unusable.
func checkFile(f *os.File, unusable error) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("%w: %w", unusable, err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: not a regular file", unusable)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%w: mode %04o gives it to group or others: run `chmod 600 %s`", unusable, mode, f.Name())
	}
	return nil
}

// createPrivate writes a new file, mode 0600, on stable storage. It is there whole
// or not at all. The error wraps fs.ErrExist if there is one.
func createPrivate(path string, text []byte) (err error) {
	path = filepath.Clean(path)
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = io.Copy(f, bytes.NewReader(text))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Link(f.Name(), path) // a rename would take the place of another's
	}
	if err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func replace(path string, text []byte) (err error) {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Cleanup()) }()
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) != os.Geteuid() {
		if err := f.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
	}
	if _, err := f.Write(text); err != nil {
		return err
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder makes a new name in the folder survive a crash.
func syncFolder(dir string) error {
	d, err := os.Open(filepath.Clean(dir))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
