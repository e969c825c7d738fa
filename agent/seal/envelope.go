package seal

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"
)

// The envelope: magic 4 | version 1 | key id 4 | epoch 8, big endian | nonce 24 |
// XChaCha20-Poly1305 ciphertext and tag. Everything before the nonce is the
// header: readable by anyone, authenticated with the rest.
const (
	magic      = "tlsf"
	version    = 1
	idAt       = len(magic) + 1
	epochAt    = idAt + idSize
	headerSize = epochAt + 8
	bodyAt     = headerSize + chacha20poly1305.NonceSizeX
)

const (
	// MaxSealed is the largest envelope in bytes: the limit of one Consul KV
	// value (kv_max_value_size).
	MaxSealed = 512 << 10
	// Overhead is what Seal adds, in bytes.
	Overhead = bodyAt + chacha20poly1305.Overhead
)

// Why an envelope is refused.
var (
	// ErrFormat: not an envelope this version reads, or larger than MaxSealed.
	ErrFormat = errors.New("not a sealed record")
	// ErrUnknownKey: sealed with a key that is not in the keyring.
	ErrUnknownKey = errors.New("sealed with a key that is not in the keyring")
	// ErrForged: altered, or sealed for another fleet, path or epoch.
	ErrForged = errors.New("sealed record is not authentic")
)

// Seal encrypts plain with the first key, bound to the fleet, the full KV path
// and the epoch: Open succeeds only with the same fleet and path. The error
// wraps ErrFormat when plain exceeds MaxSealed-Overhead bytes and ErrKeyring
// when there is no key.
func (k *Keyring) Seal(fleetName, path string, epoch uint64, plain []byte) ([]byte, error) {
	if len(k.keys) == 0 {
		return nil, fmt.Errorf("seal %s: %w: it has no keys", path, ErrKeyring)
	}
	if fleetName == "" || path == "" {
		return nil, fmt.Errorf("seal %q for fleet %q: an empty fleet or path binds to nothing", path, fleetName)
	}
	if len(plain) > MaxSealed-Overhead {
		return nil, fmt.Errorf("seal %s: %w: %d bytes, at most %d fit", path, ErrFormat, len(plain), MaxSealed-Overhead)
	}
	aead, err := k.keys[0].aead()
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", path, err)
	}
	out := make([]byte, bodyAt, len(plain)+Overhead)
	copy(out, magic)
	out[len(magic)] = version
	copy(out[idAt:], k.keys[0].id[:])
	binary.BigEndian.PutUint64(out[epochAt:], epoch)
	nonce := out[headerSize:bodyAt]
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("seal %s: read random bytes: %w", path, err)
	}
	return aead.Seal(out, nonce, plain, bind(fleetName, path, out[:headerSize])), nil
}

// Open decrypts what Seal made for the same fleet and path with any key of the
// keyring, and returns the epoch it was sealed with. Errors wrap ErrFormat,
// ErrUnknownKey, ErrForged or ErrKeyring. An old record put back in its own
// place opens: the caller compares the epoch with the highest it has seen.
func (k *Keyring) Open(fleetName, path string, sealed []byte) (plain []byte, epoch uint64, err error) {
	if len(k.keys) == 0 {
		return nil, 0, fmt.Errorf("open %s: %w: it has no keys", path, ErrKeyring)
	}
	if err := checkForm(sealed); err != nil {
		return nil, 0, fmt.Errorf("open %s: %w", path, err)
	}
	id := keyID(sealed[idAt:epochAt])
	key, found := k.find(id)
	if !found {
		return nil, 0, fmt.Errorf("open %s: %w: key %s, the keyring has %s: give every node the same keyring file",
			path, ErrUnknownKey, id, strings.Join(k.IDs(), " "))
	}
	aead, err := key.aead()
	if err != nil {
		return nil, 0, fmt.Errorf("open %s: %w", path, err)
	}
	aad := bind(fleetName, path, sealed[:headerSize])
	plain, err = aead.Open(nil, sealed[headerSize:bodyAt], sealed[bodyAt:], aad)
	if err != nil {
		return nil, 0, fmt.Errorf("open %s: %w: altered, or copied from another fleet, path or epoch: "+
			"find out who wrote it, then write it anew", path, ErrForged)
	}
	return plain, binary.BigEndian.Uint64(sealed[epochAt:]), nil
}

// IsSealed reports whether b has the form of what Seal makes.
func IsSealed(b []byte) bool { return checkForm(b) == nil }

// checkForm looks at what can be told without a key.
func checkForm(sealed []byte) error {
	switch {
	case len(sealed) < Overhead:
		return fmt.Errorf("%w: %d bytes, at least %d are needed: it was cut or never sealed", ErrFormat, len(sealed), Overhead)
	case len(sealed) > MaxSealed:
		return fmt.Errorf("%w: %d bytes, at most %d are read", ErrFormat, len(sealed), MaxSealed)
	case string(sealed[:len(magic)]) != magic:
		return fmt.Errorf("%w: it does not start with %q", ErrFormat, magic)
	case sealed[len(magic)] != version:
		return fmt.Errorf("%w: version %d, this tlsfleet reads version %d: upgrade it", ErrFormat, sealed[len(magic)], version)
	}
	return nil
}

func (k key) aead() (cipher.AEAD, error) { return chacha20poly1305.NewX(k.secret().Reveal()) }

// bind is the additional authenticated data: the fleet and the path, each
// behind its length so that no two pairs read alike, then the header with the
// epoch.
func bind(fleetName, path string, header []byte) []byte {
	aad := make([]byte, 0, 16+len(fleetName)+len(path)+len(header))
	aad = binary.BigEndian.AppendUint64(aad, uint64(len(fleetName)))
	aad = append(aad, fleetName...)
	aad = binary.BigEndian.AppendUint64(aad, uint64(len(path)))
	aad = append(aad, path...)
	return append(aad, header...)
}
