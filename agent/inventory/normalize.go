package inventory

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// maxTyped is above the longest name in bytes that can become one of
// fleet.MaxDomain: each ASCII character stands for at most one of four bytes.
const maxTyped = 4 * fleet.MaxDomain

// idn is lookup by IDNA2008 (RFC 5891, section 5) with the mappings of UTS 46
// and all its checks: ASCII by STD3, hyphens, joiners, Bidi rule, lengths.
// Like UTS 46, and unlike RFC 5892, it takes symbols, because such names are
// registered and certified.
var idn = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.VerifyDNSLength(true), idna.Transitional(false))

// Normalize makes the stored form of a domain name, the one that
// fleet.CheckDomain accepts, out of what a person types or a certificate
// says: upper case, one trailing dot and U-labels are taken, A-labels are
// checked, a leading "*." stays. Errors wrap fleet.ErrDomain.
func Normalize(s string) (string, error) {
	if len(s) > maxTyped {
		return "", fmt.Errorf("%w: it has %d characters, want at most %d", fleet.ErrDomain, len(s), fleet.MaxDomain)
	}
	if strings.Contains(s, "://") {
		return "", fmt.Errorf("%w: %q is a URL, want the host name alone", fleet.ErrDomain, s)
	}
	name := lower(s)
	if international(name) {
		var err error
		if name, err = toASCII(name); err != nil {
			return "", fmt.Errorf("%w: %q is not a name of IDNA2008: %w: check its spelling", fleet.ErrDomain, s, err)
		}
	}
	name = strings.TrimSuffix(name, ".")
	if err := fleet.CheckDomain(name); err != nil {
		return "", err
	}
	return name, nil
}

// lower changes ASCII only; the rest is for IDNA to map.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// international reports whether a label of the name is a U-label or says that
// it is an A-label. Others need no IDNA, which would refuse '_' and "r3---sn".
func international(name string) bool {
	for i := range len(name) {
		if name[i] >= utf8.RuneSelf {
			return true
		}
	}
	for label := range strings.SplitSeq(name, ".") {
		if strings.HasPrefix(label, "xn--") {
			return true
		}
	}
	return false
}

// toASCII makes A-labels and wants them to survive the way to U-labels and
// back (RFC 5890, section 2.3.2.1).
func toASCII(name string) (string, error) {
	base, wildcard := strings.CutPrefix(name, fleet.Wildcard)
	ascii, err := idn.ToASCII(strings.TrimSuffix(base, "."))
	if err != nil {
		return "", err
	}
	unicode, err := idn.ToUnicode(ascii)
	if err != nil {
		return "", err
	}
	again, err := idn.ToASCII(unicode)
	if err != nil {
		return "", err
	}
	if again != ascii {
		return "", fmt.Errorf("%q is %q in ASCII, which reads %q again", name, ascii, unicode)
	}
	if wildcard {
		ascii = fleet.Wildcard + ascii
	}
	return ascii, nil
}
