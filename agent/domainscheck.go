package agent

import (
	"fmt"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/issuer"
)

// RefusedError means that some of a list cannot be used, and nothing was done.
type RefusedError struct {
	Of     int // how long the list is
	Wishes []RefusedWish
}

// RefusedWish is one of them, and why.
type RefusedWish struct {
	Index int // in the list
	Err   error
}

// Error implements error.
func (e *RefusedError) Error() string {
	if e.Of == 1 {
		return e.Wishes[0].Err.Error()
	}
	return fmt.Sprintf("%d of %d cannot be used, the first: %v", len(e.Wishes), e.Of, e.Wishes[0].Err)
}

// Unwrap gives every reason.
func (e *RefusedError) Unwrap() []error {
	all := make([]error, len(e.Wishes))
	for i, w := range e.Wishes {
		all[i] = w.Err
	}
	return all
}

// or is the error, or nil if nothing is refused.
func (e *RefusedError) or() error {
	if len(e.Wishes) == 0 {
		return nil
	}
	return e
}

// usableWishes brings wishes into stored form and leaves out those that are there
// twice. *RefusedError for what no CA would certify, for more names than a profile
// takes, and for what r cannot answer for.
func usableWishes(wishes []issuance.Wish, r issuer.Chooser, profiles map[string]int) ([]issuance.Wish, error) {
	refused := &RefusedError{Of: len(wishes)}
	owners := map[string]string{} // name -> ID
	var out []issuance.Wish
	for i, w := range wishes {
		it, err := wished(w, r, profiles)
		again := false
		if err == nil {
			again, err = claim(owners, it)
		}
		switch {
		case err != nil:
			refused.Wishes = append(refused.Wishes, RefusedWish{i, err})
		case !again:
			out = append(out, issuance.Wish{Names: it.Names, Group: w.Group, Profile: w.Profile})
		}
	}
	return out, refused.or()
}

// wished is the item that a wish would become.
func wished(w issuance.Wish, r issuer.Chooser, profiles map[string]int) (issuance.Item, error) {
	names, err := storedNames(w.Names)
	if err != nil {
		return issuance.Item{}, err
	}
	it, err := issuance.New(names, w.Group, w.Profile, time.Now())
	if err == nil {
		err = it.CheckProfile(profiles)
	}
	if err != nil {
		return it, err
	}
	return it, issuer.Answerable(r, it.Names)
}

// claim notes whose an item's names are. again: the item is in the list already.
func claim(owners map[string]string, it issuance.Item) (again bool, _ error) {
	id := it.ID()
	for _, name := range it.Names {
		other, taken := owners[name]
		if taken && other != id {
			return false, fmt.Errorf("%s: %w of the same list", name, ErrTakenDomain)
		}
		again = again || taken
	}
	for _, name := range it.Names {
		owners[name] = id
	}
	return again, nil
}

// normalNames brings names into stored form. *RefusedError for those that are
// none.
func normalNames(names []string) ([]string, error) {
	refused := &RefusedError{Of: len(names)}
	stored := make([]string, len(names))
	for i, name := range names {
		var err error
		if stored[i], err = inventory.Normalize(name); err != nil {
			refused.Wishes = append(refused.Wishes, RefusedWish{i, err})
		}
	}
	return stored, refused.or()
}
