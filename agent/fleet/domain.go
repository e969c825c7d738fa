package fleet

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// ErrDomain is returned for a name that no certificate is kept for.
var ErrDomain = errors.New("not a usable domain name")

// Bounds of a domain name in bytes (RFC 1035, section 2.3.4).
const (
	MaxDomain = 253
	maxLabel  = 63
)

// Wildcard is what a name for all the direct children of a domain begins with.
const Wildcard = "*."

// CheckDomain refuses, with ErrDomain, every name that is not in the form in
// which names are stored, written to paths and compared with an SNI: at least
// two labels, all in lower case, after an optional "*.". A label has 1 to 63 of
// a-z, 0-9, '-' and '_' and no '-' at either end, and the last one is not a
// number. IDNA names are A-labels ("xn--"), of which only the form is checked;
// inventory.Normalize makes them.
func CheckDomain(name string) error {
	if err := checkDomain(name); err != nil {
		if _, notIP := netip.ParseAddr(name); notIP == nil {
			err = errors.New("is an IP address, want a name")
		}
		return fmt.Errorf("%w: %.300q %w", ErrDomain, name, err)
	}
	return nil
}

func checkDomain(name string) error {
	if name == "" {
		return errors.New("is empty")
	}
	if len(name) > MaxDomain {
		return fmt.Errorf("has %d characters, want at most %d", len(name), MaxDomain)
	}
	base, wildcard := strings.CutPrefix(name, Wildcard)
	labels := strings.Split(base, ".")
	for _, label := range labels {
		if err := checkLabel(label); err != nil {
			return err
		}
	}
	switch last := labels[len(labels)-1]; {
	case len(labels) < 2 && wildcard:
		return errors.New("is a wildcard of a top-level domain, want at least two labels after '*.'")
	case len(labels) < 2:
		return errors.New("has one label, want at least two")
	case strings.Trim(last, "0123456789") == "":
		return fmt.Errorf("ends in the number %s, as an IP address does", last)
	}
	return nil
}

func checkLabel(label string) error {
	if label == "" {
		return errors.New("has an empty label: a dot at either end, or two in a row")
	}
	for i := range len(label) {
		c := label[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return fmt.Errorf("has %q, want a-z, 0-9, '-', '_' and dots, and '*.' only in front", c)
		}
	}
	switch {
	case len(label) > maxLabel:
		return fmt.Errorf("has a label of %d characters, want at most %d", len(label), maxLabel)
	case label[0] == '-' || label[len(label)-1] == '-':
		return fmt.Errorf("has the label %s, want no '-' at its ends", label)
	}
	return nil
}
