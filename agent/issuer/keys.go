package issuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

// newKey makes a P-256 key, as PKCS #8.
func newKey() (fleet.Secret, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fleet.Secret{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fleet.Secret{}, err
	}
	defer clear(der)
	return fleet.NewSecret(der), nil
}

// errKey is a key of a kind that is not used here.
var errKey = errors.New("not an ECDSA key on P-256")

// ParseKey reads a key that was made here.
func ParseKey(key fleet.Secret) (*ecdsa.PrivateKey, error) {
	der := key.Reveal()
	defer clear(der)
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	own, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || own.Curve != elliptic.P256() {
		return nil, fmt.Errorf("read key: %w", errKey)
	}
	return own, nil
}

// NewOrder makes a key and a CSR for the names of an item, to be journaled
// before the CA is asked.
func NewOrder(it issuance.Item, ca string) (issuance.Order, error) {
	key, err := newKey()
	if err != nil {
		return issuance.Order{}, fmt.Errorf("make key for %s: %w", it, err)
	}
	own, err := ParseKey(key)
	if err != nil {
		return issuance.Order{}, fmt.Errorf("make key for %s: %w", it, err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: it.Names}, own)
	if err != nil {
		return issuance.Order{}, fmt.Errorf("make CSR for %s: %w", it, err)
	}
	return issuance.Order{CA: ca, Key: key, CSR: csr}, nil
}

// Thumbprint is the thumbprint of an account key (RFC 7638): what every node
// answers to HTTP-01 challenges after the token (RFC 8555, section 8.1).
func Thumbprint(key *ecdsa.PrivateKey) (string, error) {
	point, err := key.PublicKey.Bytes() // SEC 1, uncompressed: 4, X, Y
	if err != nil || len(point) != 65 {
		return "", fmt.Errorf("thumbprint of account key: %w", errors.Join(errKey, err))
	}
	b64 := base64.RawURLEncoding
	var jwk strings.Builder
	fmt.Fprintf(&jwk, `{"crv":"P-256","kty":"EC","x":%q,"y":%q}`, b64.EncodeToString(point[1:33]), b64.EncodeToString(point[33:]))
	sum := sha256.Sum256([]byte(jwk.String()))
	return b64.EncodeToString(sum[:]), nil
}
