package seal

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// MaxKeys is how many keys a keyring can hold.
const MaxKeys = 16

// ErrKeyring is returned for a keyring that cannot be used: missing, readable
// by others, or wrong in any of its lines.
var ErrKeyring = errors.New("not a usable keyring")

// idSize is the length in bytes of a key id, which is public: it stands in
// clear in every envelope.
const idSize = 4

type keyID [idSize]byte

func (id keyID) String() string { return hex.EncodeToString(id[:]) }

// key is one sealing key and its id.
type key struct {
	id   keyID
	next bool // opens only, and is to seal next
	// secret returns chacha20poly1305.KeySize bytes. It is a func because fmt
	// calls no methods on unexported fields and prints whatever data they hold.
	secret func() fleet.Secret
}

// Keyring is an ordered list of sealing keys: the first seals, all open. The last
// may be marked as the one that is to seal next. It is never changed. It prints
// as its key ids. The zero value has no keys and is refused by Seal and
// Open with ErrKeyring.
type Keyring struct {
	keys []key
}

// Generate makes a keyring of one fresh key out of 32 bytes from rand
// (crypto/rand.Reader outside tests). The error wraps ErrKeyring when rand
// yields only zeros, else the cause of the failed read.
func Generate(rand io.Reader) (*Keyring, error) {
	raw := make([]byte, chacha20poly1305.KeySize)
	if _, err := io.ReadFull(rand, raw); err != nil {
		return nil, fmt.Errorf("generate keyring: read random bytes: %w", err)
	}
	k, err := newKey(raw)
	if err != nil {
		return nil, fmt.Errorf("generate keyring: %w", err)
	}
	return &Keyring{keys: []key{k}}, nil
}

func newKey(raw []byte) (key, error) {
	if len(raw) != chacha20poly1305.KeySize {
		return key{}, fmt.Errorf("%w: a key of %d bytes, want %d", ErrKeyring, len(raw), chacha20poly1305.KeySize)
	}
	var sum byte
	for _, c := range raw {
		sum |= c
	}
	if sum == 0 {
		return key{}, fmt.Errorf("%w: a key of zero bytes protects nothing, make one with `tlsfleet keyring init`", ErrKeyring)
	}
	hash := sha256.Sum256(append([]byte("tlsfleet-key-id-1\x00"), raw...))
	secret := fleet.NewSecret(raw)
	return key{id: keyID(hash[:idSize]), secret: func() fleet.Secret { return secret }}, nil
}

// IDs lists the short public ids of the keys, eight hexadecimal digits each;
// the first key seals.
func (k *Keyring) IDs() []string {
	ids := make([]string, 0, len(k.keys))
	for _, key := range k.keys {
		ids = append(ids, key.id.String())
	}
	return ids
}

func (k *Keyring) find(id keyID) (key, bool) {
	for _, key := range k.keys {
		if key.id == id {
			return key, true
		}
	}
	return key{}, false
}

// String shows the ids of the keys, never the keys.
func (k Keyring) String() string { return "keyring[" + strings.Join(k.IDs(), " ") + "]" }

// Format implements fmt.Formatter for every verb as String does.
func (k Keyring) Format(f fmt.State, _ rune) {
	// fmt ignores write errors too: there is nobody to tell.
	_, _ = io.WriteString(f, k.String()) //nolint:errcheck // see above
}

// MarshalText implements encoding.TextMarshaler, and so JSON and loggers, as
// String does. Marshal is the one way to the keys.
func (k Keyring) MarshalText() ([]byte, error) { return []byte(k.String()), nil }
