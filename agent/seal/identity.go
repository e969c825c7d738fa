package seal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"filippo.io/age"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// ErrIdentity is returned for a file with the identity of a node or of the
// operator that cannot be used.
var ErrIdentity = errors.New("not a usable identity")

// Identity is what a node opens its keyring with: an X25519 key of age. It prints
// as its recipient.
type Identity struct {
	identity func() *age.X25519Identity // a func for the reason that key.secret is one
}

// Recipient is the public part: what the keyring is wrapped to.
func (i *Identity) Recipient() string { return i.identity().Recipient().String() }

// String is the public part.
func (i Identity) String() string { return i.Recipient() }

// CheckRecipient refuses what is not the public part of an identity.
func CheckRecipient(s string) error {
	if _, err := age.ParseX25519Recipient(s); err != nil {
		return fmt.Errorf("%w: %.80q is no recipient, which tlsfleet node init prints: %w", ErrIdentity, s, err)
	}
	return nil
}

// LoadIdentity reads a file as age-keygen writes it. It refuses one that others
// can read, as Load does. The error wraps fs.ErrNotExist if there is none.
func LoadIdentity(path string) (*Identity, error) {
	text, err := loadSecret(path)
	if err != nil {
		return nil, fmt.Errorf("load identity: %w: %w", ErrIdentity, err)
	}
	for line := range strings.Lines(string(text.Reveal())) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		id, err := age.ParseX25519Identity(line)
		if err != nil {
			return nil, fmt.Errorf("load identity %s: %w: not an X25519 identity of age", path, ErrIdentity)
		}
		return &Identity{func() *age.X25519Identity { return id }}, nil
	}
	return nil, fmt.Errorf("load identity %s: %w: it is empty", path, ErrIdentity)
}

// EnsureIdentity is LoadIdentity, and makes the file if there is none.
func EnsureIdentity(path string) (id *Identity, made bool, err error) {
	if id, err = LoadIdentity(path); !errors.Is(err, fs.ErrNotExist) {
		return id, false, err
	}
	fresh, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, false, fmt.Errorf("make identity: %w", err)
	}
	text := "# tlsfleet node identity. Secret: it never leaves this host.\n# public key: " + fresh.Recipient().String() + "\n" + fresh.String() + "\n"
	if err := createSecret(path, []byte(text)); err != nil {
		return nil, false, fmt.Errorf("make identity: %w", err)
	}
	return &Identity{func() *age.X25519Identity { return fresh }}, true, nil
}

// loadSecret reads a small file that nobody else may read.
func loadSecret(path string) (_ fleet.Secret, err error) {
	f, err := os.OpenFile(filepath.Clean(path), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return fleet.Secret{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := checkFile(f); err != nil {
		return fleet.Secret{}, fmt.Errorf("%s: %w", path, err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return fleet.Secret{}, err
	}
	if len(text) > maxFile {
		return fleet.Secret{}, fmt.Errorf("%s: larger than %d bytes", path, maxFile)
	}
	return fleet.NewSecret(text), nil
}

// createSecret writes a new file, mode 0600, on stable storage.
func createSecret(path string, text []byte) error {
	path = filepath.Clean(path)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, bytes.NewReader(text))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	if err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}
