package seal

import (
	"fmt"
	"io"
	"slices"
)

// A keyring is rotated in three steps, each of which has to be on every node
// before the next one, so that at any time all nodes open what any of them
// seals: Add a key that opens only, Promote it, Retire the others.

// Next is the id of the key that is to seal next; empty: there is none.
func (k *Keyring) Next() string {
	if n := len(k.keys); n > 0 && k.keys[n-1].next {
		return k.keys[n-1].id.String()
	}
	return ""
}

// Sealing is the id of the key that seals; empty: there are no keys.
func (k *Keyring) Sealing() string {
	if len(k.keys) == 0 {
		return ""
	}
	return k.keys[0].id.String()
}

// Has reports whether the keyring opens what the key with this id has sealed.
func (k *Keyring) Has(id string) bool { return slices.Contains(k.IDs(), id) }

// Add is the keyring with a fresh key out of rand (crypto/rand.Reader outside
// tests) that is to seal next. The error wraps ErrKeyring if there is one already
// or no room.
func (k *Keyring) Add(rand io.Reader) (*Keyring, error) {
	if next := k.Next(); next != "" {
		return nil, fmt.Errorf("add key: %w: %s is to seal next already", ErrKeyring, next)
	}
	if len(k.keys) == 0 || len(k.keys) >= MaxKeys {
		return nil, fmt.Errorf("add key: %w: it has %d keys", ErrKeyring, len(k.keys))
	}
	fresh, err := Generate(rand)
	if err != nil {
		return nil, err
	}
	added := fresh.keys[0]
	added.next = true
	return &Keyring{keys: append(slices.Clone(k.keys), added)}, nil
}

// Promote is the keyring in which the key that was to seal next does so. The
// error wraps ErrKeyring if there is none.
func (k *Keyring) Promote() (*Keyring, error) {
	if k.Next() == "" {
		return nil, fmt.Errorf("promote key: %w: no key is to seal next", ErrKeyring)
	}
	last := len(k.keys) - 1
	first := k.keys[last]
	first.next = false
	return &Keyring{keys: append([]key{first}, k.keys[:last]...)}, nil
}

// Retire is the keyring with nothing but the key that seals.
func (k *Keyring) Retire() *Keyring { return &Keyring{keys: k.keys[:min(len(k.keys), 1):1]} }

// SealedWith is the id of the key that an envelope was sealed with. It is read
// without any key, so that it may be a lie. The error wraps ErrFormat.
func SealedWith(sealed []byte) (string, error) {
	if err := checkForm(sealed); err != nil {
		return "", err
	}
	return keyID(sealed[idAt:epochAt]).String(), nil
}

// Reseal is an envelope of the same contents, fleet, path and epoch under the key
// that seals; the same one if it is that already. Errors are those of Open.
func (k *Keyring) Reseal(fleetName, path string, sealed []byte) ([]byte, error) {
	id, err := SealedWith(sealed)
	if err != nil {
		return nil, fmt.Errorf("seal %s anew: %w", path, err)
	}
	if id == k.Sealing() {
		return sealed, nil
	}
	plain, epoch, err := k.Open(fleetName, path, sealed)
	if err != nil {
		return nil, fmt.Errorf("seal %s anew: %w", path, err)
	}
	defer clear(plain)
	return k.Seal(fleetName, path, epoch, plain)
}
