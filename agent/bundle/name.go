package bundle

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// maxPrinted is the longest name that is shown, in characters.
const maxPrinted = 64

// label is what errors call a certificate: its subject, which many leaves leave
// empty, else its first name, else its serial number.
func label(c *x509.Certificate) string {
	if s := name(c.Subject); s != "" {
		return s
	}
	if len(c.DNSNames) > 0 {
		return printable(c.DNSNames[0])
	}
	return fmt.Sprintf("serial number %x", c.SerialNumber)
}

// name is a short printable name: the common name, else the organization, else
// all of it.
func name(n pkix.Name) string {
	s := n.CommonName
	if s == "" {
		s = strings.Join(n.Organization, " ")
	}
	if s == "" {
		s = n.String()
	}
	return printable(s)
}

func printable(s string) string {
	rs := []rune(s)
	for i, r := range rs {
		if !unicode.IsPrint(r) {
			rs[i] = '?'
		}
	}
	return string(rs[:min(len(rs), maxPrinted)])
}

// dnsNames are the names in the certificate as Info has them. Addresses, mail
// addresses and URIs among the subjectAltNames are not served by name and do
// not count.
func dnsNames(leaf *x509.Certificate) ([]string, error) {
	if n := len(leaf.DNSNames); n == 0 {
		return nil, fmt.Errorf("%w: no dNSName in subjectAltName, and clients do not look at the common name", ErrNames)
	} else if n > MaxNames {
		return nil, fmt.Errorf("%w: %d of them, at most %d", ErrNames, n, MaxNames)
	}
	names := make([]string, 0, len(leaf.DNSNames))
	for _, n := range leaf.DNSNames {
		n = strings.ToLower(n)
		if err := fleet.CheckDomain(n); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNames, err)
		}
		names = append(names, n)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
