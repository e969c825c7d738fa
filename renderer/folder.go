package renderer

import (
	"errors"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// folder is an open folder. What is in it is named without the way to it, which
// the kernel would go once more for each of many files.
type folder struct {
	path string
	fd   int
}

func openFolder(path string) (f folder, err error) {
	err = uninterrupted(func() (err error) {
		f.fd, err = unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return folder{}, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f.path = path
	return f, nil
}

func (f folder) close() {
	_ = unix.Close(f.fd) //nolint:errcheck // nothing was written through it
}

// in is the whole path of something in the folder.
func (f folder) in(name string) string { return filepath.Join(f.path, name) }

// mode is the type of what has a name: S_IFDIR and its like, 0 for nothing.
func (f folder) mode(name string) (uint32, error) {
	var st unix.Stat_t
	err := unix.Fstatat(f.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, &fs.PathError{Op: "lstat", Path: f.in(name), Err: err}
	}
	return st.Mode & unix.S_IFMT, nil
}
