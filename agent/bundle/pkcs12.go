package bundle

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// maxIterations bounds how long a password is hashed: 100 times what OpenSSL
// and Java write, and about two seconds.
const maxIterations = 2_000_000

// pemHint is for files that this reader does not take.
const pemHint = "convert it with `openssl pkcs12 -in FILE -nodes -out PEM_FILE` (-legacy for old ones)"

// oidPBMAC1 is the MAC with parameters of its own (RFC 9579).
var oidPBMAC1 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 14}

// pfx is the outside of a PKCS#12 file (RFC 7292, section 4).
type pfx struct {
	Version  int
	AuthSafe struct {
		ContentType asn1.ObjectIdentifier
		Content     asn1.RawValue `asn1:"tag:0,explicit,optional"`
	}
	MacData struct {
		Mac struct {
			Algorithm pkix.AlgorithmIdentifier
			Digest    []byte
		}
		MacSalt    []byte
		Iterations int `asn1:"optional,default:1"`
	} `asn1:"optional"`
}

// IsPKCS12 reports whether a file looks like PKCS#12 in DER.
func IsPKCS12(data []byte) bool {
	var p pfx
	rest, err := asn1.Unmarshal(data, &p)
	return err == nil && len(rest) == 0 && p.Version == 3
}

// FromPKCS12 reads the one key of a PKCS#12 file (RFC 7292) in DER with its
// certificate and chain, as FromPEM does. Errors wrap ErrBundle, ErrPassword if
// the password is wrong, and never show password or key.
func FromPKCS12(data []byte, password fleet.Secret) (Bundle, error) {
	b, err := fromPKCS12(data, password)
	if err != nil {
		return Bundle{}, fmt.Errorf("read PKCS#12: %w", err)
	}
	return b, nil
}

func fromPKCS12(data []byte, password fleet.Secret) (Bundle, error) {
	if len(data) > maxInput {
		return Bundle{}, fmt.Errorf("%w: file of %d bytes, at most %d", ErrSize, len(data), maxInput)
	}
	if err := checkIterations(data); err != nil {
		return Bundle{}, err
	}
	key, leaf, issuers, err := pkcs12.DecodeChain(data, string(password.Reveal()))
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword):
		return Bundle{}, ErrPassword
	case err != nil:
		return Bundle{}, fmt.Errorf("%w: %w: %s", ErrFormat, err, pemHint)
	}
	s, ok := key.(crypto.Signer)
	if !ok {
		return Bundle{}, fmt.Errorf("%w: a key of type %T cannot sign", ErrKeyKind, key)
	}
	return assemble(append([]*x509.Certificate{leaf}, issuers...), s)
}

// checkIterations reads how often the password is hashed for the MAC, which is
// verified before anything else: whoever does not know the password cannot keep
// this process busy. A file without a MAC is read with the empty password only.
func checkIterations(data []byte) error {
	var p pfx
	if rest, err := asn1.Unmarshal(data, &p); err != nil || len(rest) > 0 {
		return fmt.Errorf("%w: not PKCS#12 in DER: %s", ErrFormat, pemHint)
	}
	n := p.MacData.Iterations
	if alg := p.MacData.Mac.Algorithm; alg.Algorithm.Equal(oidPBMAC1) {
		var mac struct{ KDF, MAC pkix.AlgorithmIdentifier }
		var kdf struct {
			Salt       asn1.RawValue
			Iterations int
			Length     int                      `asn1:"optional"`
			PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
		}
		if _, err := asn1.Unmarshal(alg.Parameters.FullBytes, &mac); err != nil {
			return fmt.Errorf("%w: parameters of its MAC: %w", ErrFormat, err)
		}
		if _, err := asn1.Unmarshal(mac.KDF.Parameters.FullBytes, &kdf); err != nil {
			return fmt.Errorf("%w: parameters of its MAC: %w", ErrFormat, err)
		}
		n = kdf.Iterations
	}
	if n > maxIterations {
		return fmt.Errorf("%w: its password is hashed %d times, at most %d", ErrFormat, n, maxIterations)
	}
	return nil
}
