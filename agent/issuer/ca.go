package issuer

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

// CA is a CA as the configuration names it.
type CA struct {
	Name      string // fleet.CheckName; in the journal and in the ledger
	Directory string // URL (RFC 8555, section 7.1.1)
	Contact   []string
	RootFile  string // PEM of the roots of its HTTPS; empty: the system's
	EABKeyID  string // external account binding (RFC 8555, section 7.3.4); empty: none
	EABKey    fleet.Secret
	Limits    issuance.Limits

	ProfileNames map[string]int // most names in a certificate of a profile; others have no bound of their own
}

// ErrRoots means that a CA's RootFile has no certificate.
var ErrRoots = errors.New("no certificate in it")

// roots are the roots of the CA's HTTPS; nil for the system's.
func (ca CA) roots() (*x509.CertPool, error) {
	if ca.RootFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(ca.RootFile)
	if err != nil {
		return nil, fmt.Errorf("read roots of CA %s: %w", ca.Name, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("read roots of CA %s: %s: %w", ca.Name, ca.RootFile, ErrRoots)
	}
	return pool, nil
}
