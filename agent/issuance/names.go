package issuance

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// CheckNames refuses names that no public CA puts into one certificate: none
// or too many, one twice, one that is covered by a wildcard beside it, a public
// suffix. They have to be sorted. Errors wrap ErrItem or fleet.ErrDomain.
func CheckNames(names []string) error {
	if len(names) == 0 || len(names) > MaxNames {
		return fmt.Errorf("%w: %d names, want 1 to %d", ErrItem, len(names), MaxNames)
	}
	for i, name := range names {
		if err := checkName(name); err != nil {
			return err
		}
		if i > 0 && names[i-1] >= name {
			return fmt.Errorf("%w: %s is in it twice, or the names are not sorted", ErrItem, name)
		}
		_, parent, _ := strings.Cut(name, ".")
		if wild := fleet.Wildcard + parent; name != wild && slices.Contains(names, wild) {
			return fmt.Errorf("%w: %s is covered by %s: leave one out", ErrItem, name, wild)
		}
	}
	return nil
}

// ErrProfile means that a certificate has more names than its profile takes.
var ErrProfile = errors.New("too many names for the profile")

// CheckProfile refuses an item with more names than a CA takes into a certificate
// of its profile. most has them by profile; any other profile takes MaxNames.
func (it Item) CheckProfile(most map[string]int) error {
	if n, bounded := most[it.Profile]; bounded && len(it.Names) > n {
		return fmt.Errorf("%w: %d names, and %q takes %d in one certificate", ErrProfile, len(it.Names), it.Profile, n)
	}
	return nil
}

func checkName(name string) error {
	if err := fleet.CheckDomain(name); err != nil {
		return err
	}
	base := strings.TrimPrefix(name, fleet.Wildcard)
	if suffix, icann := publicsuffix.PublicSuffix(base); suffix == base && (icann || strings.Contains(suffix, ".")) {
		return fmt.Errorf("%w: %s is a public suffix, under which others register names: no CA certifies it", ErrItem, name)
	}
	if strings.Contains(base, "_") {
		return fmt.Errorf("%w: %s has an underscore, which public CAs do not certify", ErrItem, name)
	}
	return nil
}

// Registered is the domain that was registered for a name: the public suffix
// and one label more. CAs count certificates by it.
func Registered(name string) string {
	base := strings.TrimPrefix(name, fleet.Wildcard)
	domain, err := publicsuffix.EffectiveTLDPlusOne(base)
	if err != nil {
		return base // a name that CheckNames refuses
	}
	return domain
}

// Wild reports whether any of the names needs DNS-01 (RFC 8555, section 7.1.3;
// no CA validates a wildcard by HTTP).
func (it Item) Wild() bool {
	return slices.ContainsFunc(it.Names, func(name string) bool { return strings.HasPrefix(name, fleet.Wildcard) })
}
