package bundle

import (
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Policy is what Check allows.
type Policy struct {
	Now             time.Time
	AllowExpired    bool // also in the chain
	AllowNoChain    bool // a leaf alone: its issuer has to be a root that clients know
	AllowSelfSigned bool
	MinRSABits      int // 2048 if 0; of the leaf and of its chain

	// Issued says that whoever handed out the bundle has looked at the issuer's
	// signature and constraints: only its name is compared.
	Issued bool
}

// Check accepts what can be served to browsers: a key that belongs to the
// leaf, a chain in order whose signatures and constraints hold (RFC 5280,
// section 6, with its last certificate as the anchor), nothing expired or not
// yet valid, keys of RSA or of ECDSA on P-256 or P-384 (browsers take no
// Ed25519), and 1 to MaxNames names that fleet.CheckDomain takes. Whether
// clients trust the root is not known here. Errors wrap ErrBundle.
func Check(b Bundle, p Policy) (Info, error) {
	return new(Checker).Check(b, p)
}

// Check is the function Check.
func (c *Checker) Check(b Bundle, p Policy) (Info, error) {
	info, err := c.check(b, p)
	if err != nil {
		return Info{}, fmt.Errorf("check certificate: %w", err)
	}
	return info, nil
}

func (c *Checker) check(b Bundle, p Policy) (Info, error) {
	if p.MinRSABits == 0 {
		p.MinRSABits = minRSABits
	}
	if err := checkSize(b); err != nil {
		return Info{}, err
	}
	path, err := c.path(b)
	if err != nil {
		return Info{}, err
	}
	leaf := path[0]
	kind, err := checkKey(leaf.PublicKey, p.MinRSABits)
	if err != nil {
		return Info{}, err
	}
	if err := checkPair(b, leaf); err != nil {
		return Info{}, err
	}
	if err := checkUse(leaf); err != nil {
		return Info{}, err
	}
	names, err := dnsNames(leaf)
	if err != nil {
		return Info{}, err
	}
	if err := p.checkTimes(path); err != nil {
		return Info{}, err
	}
	if err := p.checkPath(path); err != nil {
		return Info{}, err
	}
	return Info{
		Names: names, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
		Issuer: name(leaf.Issuer), Serial: fmt.Sprintf("%x", leaf.SerialNumber),
		KeyKind: kind, SelfSigned: isSelfSigned(leaf),
	}, nil
}

// checkUse refuses a certificate that is not for a TLS server
// (RFC 5280, sections 4.2.1.3, 4.2.1.9 and 4.2.1.12).
func checkUse(leaf *x509.Certificate) error {
	usages := leaf.ExtKeyUsage
	server := len(usages)+len(leaf.UnknownExtKeyUsage) == 0 ||
		slices.Contains(usages, x509.ExtKeyUsageServerAuth) || slices.Contains(usages, x509.ExtKeyUsageAny)
	switch {
	case leaf.IsCA && !isSelfSigned(leaf):
		return fmt.Errorf("%w: %q is a CA", ErrLeaf, label(leaf))
	case !server:
		return fmt.Errorf("%w: %q is not for TLS servers (extended key usage)", ErrLeaf, label(leaf))
	case leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return fmt.Errorf("%w: the key of %q must not sign handshakes (key usage)", ErrLeaf, label(leaf))
	case len(leaf.UnhandledCriticalExtensions) > 0:
		return fmt.Errorf("%w: %q has the critical extension %s that is not known here (a precertificate has one)",
			ErrLeaf, label(leaf), leaf.UnhandledCriticalExtensions[0])
	}
	return nil
}

func (p Policy) checkTimes(path []*x509.Certificate) error {
	for _, c := range path {
		if p.Now.Before(c.NotBefore) {
			return fmt.Errorf("%w: %q begins at %s, now is %s: is this host's clock right?",
				ErrNotYetValid, label(c), instant(c.NotBefore), instant(p.Now))
		}
		if p.Now.After(c.NotAfter) && !p.AllowExpired {
			return fmt.Errorf("%w: %q ended at %s, now is %s", ErrExpired, label(c), instant(c.NotAfter), instant(p.Now))
		}
	}
	return nil
}

func instant(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// checkPath looks at the chain: its order, signatures, strength and
// constraints.
func (p Policy) checkPath(path []*x509.Certificate) error {
	leaf := path[0]
	for _, c := range path {
		if err := p.checkStrength(c); err != nil {
			return err
		}
	}
	for i, c := range path[1:] {
		if err := checkNamed(path[i], c); err != nil {
			return err
		}
		if isSelfSigned(c) {
			return fmt.Errorf("%w: it has the root %q: clients have their own", ErrChain, label(c))
		}
	}
	switch {
	case len(path) > 1 && p.Issued:
		return nil
	case len(path) > 1:
		return checkIssuers(path)
	case isSelfSigned(leaf) && !p.AllowSelfSigned:
		return fmt.Errorf("%w: %q: no client trusts it", ErrSelfSigned, label(leaf))
	case !isSelfSigned(leaf) && !p.AllowNoChain:
		return fmt.Errorf("%w: it is empty: add the certificate of the issuer %q, or allow a missing chain if that is a root",
			ErrChain, name(leaf.Issuer))
	}
	return nil
}

// CheckIssuers looks at what Policy.Issued leaves out, and at nothing else: the
// signatures and constraints of the issuers in the chain. It holds or fails at
// any time.
func CheckIssuers(b Bundle) error {
	path, err := new(Checker).path(b)
	if err == nil && len(path) > 1 {
		err = checkIssuers(path)
	}
	if err != nil {
		return fmt.Errorf("check issuers: %w", err)
	}
	return nil
}

func checkIssuers(path []*x509.Certificate) error {
	for i, c := range path[1:] {
		issued := checkIssued
		if i == 0 {
			issued = checkNamed // verify looks at the leaf's signature, which is most of the work
		}
		if err := issued(path[i], c); err != nil {
			return err
		}
	}
	return verify(path)
}

// weak are the signatures that clients refuse.
var weak = []x509.SignatureAlgorithm{
	x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.DSAWithSHA256, x509.ECDSAWithSHA1,
}

// checkStrength looks at the key and the signature of one certificate. A
// signature that no certificate in the path verifies counts as well.
func (p Policy) checkStrength(c *x509.Certificate) error {
	if k, ok := c.PublicKey.(*rsa.PublicKey); ok {
		if err := checkRSA(k, p.MinRSABits); err != nil {
			return fmt.Errorf("%q: %w", label(c), err)
		}
	}
	if slices.Contains(weak, c.SignatureAlgorithm) {
		return fmt.Errorf("%w: %q is signed with %s", ErrWeakKey, label(c), c.SignatureAlgorithm)
	}
	return nil
}

// verify builds the path as clients do, with the last certificate as the
// anchor: that finds what no single step shows, such as name constraints and
// path lengths. It also looks at the leaf's signature.
func verify(path []*x509.Certificate) error {
	at := path[0].NotBefore
	for _, c := range path {
		if c.NotBefore.After(at) {
			at = c.NotBefore
		}
	}
	opts := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(),
		CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, c := range path[1 : len(path)-1] {
		opts.Intermediates.AddCert(c)
	}
	opts.Roots.AddCert(path[len(path)-1])
	chains, err := path[0].Verify(opts)
	if err == nil && slices.ContainsFunc(chains, func(c []*x509.Certificate) bool { return len(c) > 1 && c[1].Equal(path[1]) }) {
		return nil
	}
	if err := checkIssued(path[0], path[1]); err != nil {
		return err
	}
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return nil // validities that do not meet, which the policy has allowed
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrChain, err)
	}
	return nil
}
