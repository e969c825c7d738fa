package bundle

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// maxCertificates in one file: a leaf, its chain and a few roots.
const maxCertificates = MaxChain + 6

// assemble finds the leaf by its key and puts the others in order.
func assemble(certs []*x509.Certificate, key crypto.Signer) (Bundle, error) {
	certs, err := distinct(certs)
	if err != nil {
		return Bundle{}, err
	}
	leaf, err := leafOf(certs, key)
	if err != nil {
		return Bundle{}, err
	}
	chain, err := chainOf(leaf, certs)
	if err != nil {
		return Bundle{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Bundle{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	b := Bundle{Leaf: bytes.Clone(leaf.Raw), Key: fleet.NewSecret(der)}
	for _, c := range chain {
		b.Chain = append(b.Chain, bytes.Clone(c.Raw))
	}
	return b, nil
}

// distinct drops repeated certificates. It bounds how much work the rest is,
// keys included.
func distinct(certs []*x509.Certificate) ([]*x509.Certificate, error) {
	var once []*x509.Certificate
	for _, c := range certs {
		if slices.ContainsFunc(once, c.Equal) {
			continue
		}
		if len(once) == maxCertificates {
			return nil, fmt.Errorf("%w: %d certificates in the file, want a leaf and at most %d issuers", ErrChain, len(certs), MaxChain)
		}
		if k, ok := c.PublicKey.(*rsa.PublicKey); ok && k.N.BitLen() > maxRSABits {
			return nil, fmt.Errorf("%w: RSA key of %d bits, want at most %d", ErrKeyKind, k.N.BitLen(), maxRSABits)
		}
		once = append(once, c)
	}
	return once, nil
}

func leafOf(certs []*x509.Certificate, key crypto.Signer) (*x509.Certificate, error) {
	var leaves []*x509.Certificate
	for _, c := range certs {
		if isKeyOf(key, c) {
			leaves = append(leaves, c)
		}
	}
	isIssuer := func(c *x509.Certificate) bool { return c.IsCA && !isSelfSigned(c) }
	switch {
	case len(leaves) == 1:
		return leaves[0], nil
	case len(leaves) > 1:
		return nil, fmt.Errorf("%w: %d certificates belong to the key, with the serial numbers %x and %x: keep one",
			ErrLeaf, len(leaves), leaves[0].SerialNumber, leaves[1].SerialNumber)
	case slices.ContainsFunc(certs, isIssuer) && !slices.ContainsFunc(certs, func(c *x509.Certificate) bool { return !c.IsCA }):
		return nil, fmt.Errorf("%w: only certificates of CAs, the first of %q: the leaf is missing", ErrLeaf, label(certs[0]))
	}
	return nil, fmt.Errorf("%w: it is not the key of %q", ErrKeyMismatch, label(certs[0]))
}

// chainOf walks from the leaf to the last issuer that is there. Every
// certificate has to be on that way or a root of it.
func chainOf(leaf *x509.Certificate, certs []*x509.Certificate) ([]*x509.Certificate, error) {
	path := []*x509.Certificate{leaf}
	left := slices.DeleteFunc(slices.Clone(certs), leaf.Equal)
	for last := leaf; ; last = path[len(path)-1] {
		var issuers []*x509.Certificate
		left = slices.DeleteFunc(left, func(c *x509.Certificate) bool {
			if checkIssued(last, c) != nil {
				return false
			}
			if !isSelfSigned(c) {
				issuers = append(issuers, c)
			}
			return true
		})
		if len(issuers) > 1 {
			return nil, fmt.Errorf("%w: %d certificates of the issuer %q: keep one", ErrChain, len(issuers), name(last.Issuer))
		}
		if len(issuers) == 0 {
			break
		}
		path = append(path, issuers[0])
	}
	if len(path)-1 > MaxChain {
		return nil, fmt.Errorf("%w: %d issuers, at most %d", ErrChain, len(path)-1, MaxChain)
	}
	if len(left) > 0 {
		return nil, strayError(path[len(path)-1], left[0])
	}
	return path[1:], nil
}

// strayError says why a certificate is not the issuer of the last one in the
// chain.
func strayError(last, stray *x509.Certificate) error {
	switch {
	case bytes.Equal(last.RawIssuer, stray.RawSubject):
		return checkIssued(last, stray)
	case !stray.IsCA:
		return fmt.Errorf("%w: a second leaf, of %q, that the key does not belong to", ErrLeaf, label(stray))
	}
	return fmt.Errorf("%w: %q issued nothing in the file: the chain ends with %q, issued by %q",
		ErrChain, label(stray), label(last), name(last.Issuer))
}

// checkIssued refuses an issuer that did not sign the certificate.
func checkIssued(c, issuer *x509.Certificate) error {
	if err := checkNamed(c, issuer); err != nil {
		return err
	}
	if err := c.CheckSignatureFrom(issuer); err != nil {
		return fmt.Errorf("%w: %q has the name of the issuer of %q, but the signature does not hold: %w", ErrChain, label(issuer), label(c), err)
	}
	return nil
}

// checkNamed refuses an issuer of another name than the certificate says.
func checkNamed(c, issuer *x509.Certificate) error {
	if !bytes.Equal(c.RawIssuer, issuer.RawSubject) {
		return fmt.Errorf("%w: %q was issued by %q, not by %q", ErrChain, label(c), name(c.Issuer), label(issuer))
	}
	return nil
}

// isSelfSigned reports whether a certificate is its own issuer. It takes SHA-1,
// which old roots are signed with: a root's signature counts for nothing.
func isSelfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) &&
		c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}
