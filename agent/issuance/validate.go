package issuance

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Validate refuses, with ErrItem, an item whose parts do not go together.
func Validate(it Item) error {
	if err := errors.Join(CheckNames(it.Names), it.checkTexts(), it.checkTimes(), it.checkState()); err != nil {
		return fmt.Errorf("%w: %w", ErrItem, err)
	}
	return nil
}

func (it Item) checkTexts() error {
	texts := map[string]string{"group": it.Group, "profile": it.Profile, "reason for parking": it.Failed.Parked}
	if it.Cert != nil {
		texts["CA of the certificate"], texts["identifier of the certificate"] = it.Cert.CA, it.Cert.ID
	}
	if f := it.Failed.Last; f != nil {
		texts["CA of the failure"], texts["problem type"] = f.CA, f.Type
		if len(f.Detail) > maxDetail || !utf8.ValidString(f.Detail) {
			return fmt.Errorf("a failure's text has %d bytes, want valid UTF-8 of at most %d", len(f.Detail), maxDetail)
		}
		if !f.Class.known() || !f.Stage.known() {
			return fmt.Errorf("failure of class %q in stage %q", f.Class, f.Stage)
		}
	}
	for what, text := range texts {
		if len(text) > fleet.MaxDomain || !printable(text) {
			return fmt.Errorf("%s %.300q: want at most %d printable characters", what, text, fleet.MaxDomain)
		}
	}
	if it.Group == "" {
		return errors.New("it belongs to no group")
	}
	return nil
}

// printable is ASCII without control characters.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func (it Item) checkTimes() error {
	times := []time.Time{it.Added, it.Changed, it.Next}
	if it.Order != nil {
		times = append(times, it.Order.Begun)
	}
	if it.Failed.Last != nil {
		times = append(times, it.Failed.Last.At)
	}
	if c := it.Cert; c != nil {
		times = append(times, c.NotBefore, c.NotAfter)
		if !c.NotBefore.Before(c.NotAfter) {
			return errors.New("its certificate ends before it begins")
		}
		if w := c.Window; w != nil {
			times = append(times, w.Start, w.End, w.Chosen, w.Check)
			if !w.Start.Before(w.End) || w.Chosen.Before(w.Start) || w.Chosen.After(w.End) {
				return errors.New("its renewal window is none")
			}
		}
	}
	for _, t := range times {
		if !t.IsZero() && (t != whole(t) || t.Unix() <= 0) {
			return fmt.Errorf("the time %s is not one of whole seconds UTC", t)
		}
	}
	if it.Added.IsZero() || it.Changed.IsZero() {
		return errors.New("it has no times")
	}
	return nil
}

func (it Item) checkState() error {
	if it.Failed.Count < 0 || it.Failed.Count > 0 && it.Failed.Last == nil {
		return fmt.Errorf("%d failures, none known", it.Failed.Count)
	}
	if o := it.Order; o != nil {
		if it.State != Ordering && it.State != Waiting {
			return fmt.Errorf("an order while %s", it.State)
		}
		if o.CA == "" || o.Key.Len() == 0 || len(o.CSR) == 0 || o.Begun.IsZero() || o.Key.Len()+len(o.CSR)+len(o.URL)+len(o.Replaces) > maxOrder {
			return errors.New("an order without its parts, or too large")
		}
		if o.Cuts < 0 || o.Cuts > len(cutWaits) {
			return fmt.Errorf("an order with %d quick tries, want at most %d", o.Cuts, len(cutWaits))
		}
		if !printable(o.URL) || !printable(o.CA) || !printable(o.Replaces) {
			return errors.New("an order with control characters")
		}
	}
	switch it.State {
	case Wanted, Preflight:
		return it.nextSet(false)
	case Ordering:
		if it.Order == nil {
			return errors.New("ordering without an order")
		}
		return it.nextSet(false)
	case Issued:
		if it.Cert == nil {
			return errors.New("issued without a certificate")
		}
		return it.nextSet(true)
	case Waiting, Parked:
		if it.Failed.Last == nil {
			return fmt.Errorf("%s without a failure", it.State)
		}
		return it.nextSet(true)
	default:
		return fmt.Errorf("unknown state %q", it.State)
	}
}

func (it Item) nextSet(want bool) error {
	if it.Next.IsZero() == want {
		return fmt.Errorf("next time %s while %s", it.Next, it.State)
	}
	return nil
}
