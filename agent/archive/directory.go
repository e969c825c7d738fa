package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"
)

// directory is an archive in a folder, one file for each object, readable by its
// owner only.
type directory struct{ path string }

// Directory is the archive in the folder at path, which is made if its parent is
// there: a file system that is not mounted is an error, not an empty archive.
func Directory(path string) Archive { return directory{path} }

// within opens the folder, out of which no name and no symbolic link leads.
func (d directory) within(do func(root *os.Root) error) error {
	if err := os.Mkdir(d.path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make archive: %w", err)
	}
	root, err := os.OpenRoot(d.path)
	if err != nil {
		return fmt.Errorf("open archive: %w", err)
	}
	return errors.Join(do(root), root.Close())
}

func (d directory) Put(ctx context.Context, name string, data []byte) error {
	if err := errors.Join(CheckName(name), ctx.Err()); err != nil {
		return err
	}
	return d.within(func(root *os.Root) error {
		folder := path.Dir(name)
		if err := makeDurable(root, folder); err != nil {
			return fmt.Errorf("put %s: %w", name, err)
		}
		// It writes to a file of its own, synchronizes and renames it.
		if err := renameio.WriteFile(name, data, 0o600, renameio.WithRoot(root), renameio.IgnoreUmask()); err != nil {
			return fmt.Errorf("put %s: %w", name, err)
		}
		return syncFolder(root, folder)
	})
}

// makeDurable makes the folders of a path that are missing.
func makeDurable(root *os.Root, folder string) error {
	if info, err := root.Stat(folder); err == nil && info.IsDir() {
		return nil
	}
	parent := path.Dir(folder)
	if err := makeDurable(root, parent); err != nil {
		return err
	}
	if err := root.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFolder(root, parent)
}

// syncFolder makes the names in a folder survive a crash.
func syncFolder(root *os.Root, folder string) error {
	f, err := root.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d directory) Get(ctx context.Context, name string) (data []byte, _ error) {
	if err := errors.Join(CheckName(name), ctx.Err()); err != nil {
		return nil, err
	}
	err := d.within(func(root *os.Root) error {
		f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("get %s: %w", name, ErrMissing)
		}
		if err != nil {
			return fmt.Errorf("get %s: %w", name, err)
		}
		data, err = readObject(name, f)
		return errors.Join(err, f.Close())
	})
	return data, err
}

// readObject reads an object of at most MaxObject bytes.
func readObject(name string, r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxObject+1))
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", name, err)
	}
	if len(data) > MaxObject {
		return nil, fmt.Errorf("get %s: it is larger than %d bytes", name, MaxObject)
	}
	return data, nil
}

func (d directory) List(ctx context.Context, prefix string, each func(Object)) error {
	return d.within(func(root *os.Root) error {
		err := fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case ctx.Err() != nil:
				return ctx.Err()
			case !entry.Type().IsRegular() || !strings.HasPrefix(name, prefix) || CheckName(name) != nil:
				return nil
			}
			info, err := entry.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil {
				each(Object{filepath.ToSlash(name), info.ModTime()})
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("list archive: %w", err)
		}
		return nil
	})
}

func (d directory) Delete(ctx context.Context, name string) error {
	if err := errors.Join(CheckName(name), ctx.Err()); err != nil {
		return err
	}
	return d.within(func(root *os.Root) error {
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("delete %s: %w", name, err)
		}
		return nil
	})
}

func (directory) Close() {}
