package seal

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"
)

// maxFile is the largest keyring file in bytes.
const maxFile = 64 << 10

// Load reads the keyring file at path. It refuses, with ErrKeyring, a file
// that is missing (also fs.ErrNotExist), that group or others can access, that
// is no regular file, or that Parse refuses.
func Load(path string) (k *Keyring, err error) {
	// Without O_NONBLOCK a FIFO would block here for ever.
	f, err := os.OpenFile(filepath.Clean(path), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("load keyring: %w: %w: copy it from a node of the fleet, "+
			"or make the first one with `tlsfleet keyring init`", ErrKeyring, err)
	}
	if err != nil {
		return nil, fmt.Errorf("load keyring: %w: %w", ErrKeyring, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := checkFile(f); err != nil {
		return nil, fmt.Errorf("load keyring %s: %w", path, err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("load keyring: %w: %w", ErrKeyring, err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("load keyring %s: %w: larger than %d bytes", path, ErrKeyring, maxFile)
	}
	if k, err = Parse(text); err != nil {
		return nil, fmt.Errorf("load keyring %s: %w", path, err)
	}
	return k, nil
}

// checkFile looks at the open file, so that nobody can swap it in between.
func checkFile(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrKeyring, err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: not a regular file", ErrKeyring)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%w: mode %04o gives it to group or others: run `chmod 600 %s`", ErrKeyring, mode, f.Name())
	}
	return nil
}

// Create writes a keyring of one fresh key to a new file at path, mode 0600,
// on stable storage when it returns. It never overwrites: if path exists the
// error wraps fs.ErrExist. On any other failure no file is left behind.
func Create(path string) (*Keyring, error) {
	k, err := Generate(rand.Reader)
	if err != nil {
		return nil, err
	}
	path = filepath.Clean(path)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("create keyring: %w: it is never overwritten, "+
			"because records sealed with it could not be opened any more", err)
	}
	if err != nil {
		return nil, fmt.Errorf("create keyring: %w", err)
	}
	_, err = f.Write(k.Marshal().Reveal())
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	if err != nil {
		return nil, fmt.Errorf("create keyring: %w", errors.Join(err, os.Remove(path)))
	}
	return k, nil
}

// Write puts a keyring in the file at path, made or replaced by rename, mode 0600,
// on stable storage when it returns.
func Write(path string, k *Keyring) error {
	path = filepath.Clean(path)
	_, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = createSecret(path, k.Marshal().Reveal())
	case err == nil:
		err = replace(path, k)
	}
	if err != nil {
		return fmt.Errorf("write keyring: %w", err)
	}
	return nil
}

// Replace writes another keyring to the file at path by rename, mode 0600, its
// owner as before, on stable storage when it returns. The file has to be what
// was read: if somebody else has changed it, or it cannot be loaded, the error
// wraps ErrKeyring and nothing is written.
func Replace(path string, was, now *Keyring) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("replace keyring: %w", err)
	}
	there, err := Load(path)
	if err != nil {
		return fmt.Errorf("replace keyring: %w", err)
	}
	if !bytes.Equal(there.Marshal().Reveal(), was.Marshal().Reveal()) {
		return fmt.Errorf("replace keyring %s: %w: somebody else has changed it meanwhile: run the command again", path, ErrKeyring)
	}
	if err := replace(path, now); err != nil {
		return fmt.Errorf("replace keyring: %w", err)
	}
	return nil
}

func replace(path string, k *Keyring) (err error) {
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
	if _, err := f.Write(k.Marshal().Reveal()); err != nil {
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
