package ticket

import (
	"errors"
	"fmt"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Why a key is not adopted. ErrAlreadyCurrent and ErrUsed are kinds of
// ErrInUse.
var (
	// ErrInUse: a key with this name has sealed tickets, or is not fresh.
	ErrInUse = errors.New("key is in the ring")
	// ErrAlreadyCurrent: the key is the current one, there is nothing to do.
	ErrAlreadyCurrent = fmt.Errorf("%w and current already", ErrInUse)
	// ErrUsed: the key is a previous one, or another key has its name.
	ErrUsed = fmt.Errorf("%w and cannot be used again", ErrInUse)
	// ErrAlreadyNext: the key is adopted already and waits to be promoted.
	ErrAlreadyNext = errors.New("key is adopted already")
)

// Adopt makes a key from outside the next one and sets Promote: once every
// node has proved this epoch, Rotate makes it current. The next key it
// replaces has sealed nothing. An Emergency that was not followed by a
// rotation stays one, so that a node that missed it still applies at once.
//
// o is fleet.OriginEvent or fleet.OriginFile. Errors wrap ErrKey,
// ErrAlreadyCurrent, ErrAlreadyNext or ErrUsed when the key is the reason.
func Adopt(r fleet.Ring, key fleet.Secret, o fleet.Origin, c Change) (fleet.Ring, error) {
	n, err := adopted(r, key, o, c)
	if err != nil {
		return fleet.Ring{}, fmt.Errorf("adopt key at epoch %d: %w", r.Epoch, err)
	}
	return n, nil
}

func adopted(r fleet.Ring, key fleet.Secret, o fleet.Origin, c Change) (fleet.Ring, error) {
	if err := Validate(r); err != nil {
		return fleet.Ring{}, err
	}
	if o != fleet.OriginEvent && o != fleet.OriginFile {
		return fleet.Ring{}, fmt.Errorf("origin %q, want %q or %q", o, fleet.OriginEvent, fleet.OriginFile)
	}
	if _, err := CheckKey(key.Reveal()); err != nil {
		return fleet.Ring{}, err
	}
	k := fleet.TicketKey{Raw: key, Origin: o}
	if err := adoptable(r, k); err != nil {
		return fleet.Ring{}, err
	}
	n, err := c.frame(r)
	if err != nil {
		return fleet.Ring{}, err
	}
	k.Born = n.Changed
	n.Current, n.Next, n.Previous = r.Current, k, append([]fleet.TicketKey(nil), r.Previous...)
	n.Promote, n.Emergency = true, r.Emergency
	return checked(n)
}

// adoptable compares the key with the ring. Two keys of one name lose tickets,
// because nginx looks keys up by name.
func adoptable(r fleet.Ring, k fleet.TicketKey) error {
	role, found := find(r, k.Name())
	switch {
	case !found:
		return nil
	case role == fleet.RoleCurrent && k.Raw.Equal(r.Current.Raw):
		return fmt.Errorf("key %s: %w", k.Name(), ErrAlreadyCurrent)
	case role == fleet.RoleNext && k.Raw.Equal(r.Next.Raw) && r.Promote:
		return fmt.Errorf("key %s: %w", k.Name(), ErrAlreadyNext)
	case role == fleet.RoleNext && k.Raw.Equal(r.Next.Raw):
		return nil
	}
	return fmt.Errorf("key %s: %w, it is the name of a %s key: %s", k.Name(), ErrUsed, role, makeKey)
}
