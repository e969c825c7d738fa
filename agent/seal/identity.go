package seal

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"filippo.io/age"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// ErrIdentity is returned for a file with the identity of a node or of the
// operator that cannot be used.
var ErrIdentity = errors.New("not a usable identity")

// another is what to do about the file of an identity that is lost.
const another = "remove it, tlsfleet node init makes another, and admit the node again"

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
		return nil, fmt.Errorf("load identity: %w", err)
	}
	for line := range strings.Lines(string(text.Reveal())) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		id, err := age.ParseX25519Identity(line)
		if err != nil {
			return nil, fmt.Errorf("load identity %s: %w: not an X25519 identity of age: %s", path, ErrIdentity, another)
		}
		return &Identity{func() *age.X25519Identity { return id }}, nil
	}
	return nil, fmt.Errorf("load identity %s: %w: it is empty: %s", path, ErrIdentity, another)
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
	err = createPrivate(path, []byte(text))
	if errors.Is(err, fs.ErrExist) { // somebody else was faster
		id, err = LoadIdentity(path)
		return id, false, err
	}
	if err != nil {
		return nil, false, fmt.Errorf("make identity: %w", err)
	}
	return &Identity{func() *age.X25519Identity { return fresh }}, true, nil
}

// loadSecret is ReadPrivate for what nobody may print. The error wraps ErrIdentity.
func loadSecret(path string) (fleet.Secret, error) {
	text, err := ReadPrivate(path, maxFile)
	if err != nil {
		return fleet.Secret{}, fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	return fleet.NewSecret(text), nil
}
