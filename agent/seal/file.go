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
	if err := checkFile(f, ErrKeyring); err != nil {
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

// Create writes a keyring of one fresh key to a new file at path, mode 0600,
// on stable storage when it returns. It never overwrites: if path exists the
// error wraps fs.ErrExist. On any other failure no file is left behind.
func Create(path string) (*Keyring, error) {
	k, err := Generate(rand.Reader)
	if err != nil {
		return nil, err
	}
	err = createPrivate(path, k.Marshal().Reveal())
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("create keyring: %w: it is never overwritten, "+
			"because records sealed with it could not be opened any more", err)
	}
	if err != nil {
		return nil, fmt.Errorf("create keyring: %w", err)
	}
	return k, nil
}

// Write puts a keyring in the file at path as WritePrivate does.
func Write(path string, k *Keyring) error {
	if err := WritePrivate(path, k.Marshal().Reveal()); err != nil {
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
	if err := replace(path, now.Marshal().Reveal()); err != nil {
		return fmt.Errorf("replace keyring: %w", err)
	}
	return nil
}
