package bundle

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"strings"
)

const (
	// maxKey is the largest private key in bytes of DER: above RSA 8192 and
	// small enough to be parsed in a moment.
	maxKey = 8 << 10
	// maxRSABits is the largest RSA key that crypto/tls and others take.
	maxRSABits = 8192
	// minRSABits is the default of Policy.MinRSABits.
	minRSABits = 2048
)

// decryptHint tells an operator what to do with an encrypted key.
const decryptHint = "decrypt it with `openssl pkey -in KEY -out PLAIN_KEY`"

// readKey returns the one private key of a file.
func readKey(file []byte) (crypto.Signer, error) {
	blocks, err := readBlocks(file)
	if err != nil {
		return nil, err
	}
	if blocks == nil {
		if isEncrypted(file) {
			return nil, fmt.Errorf("%w: %s", ErrEncryptedKey, decryptHint)
		}
		return parseKey(file)
	}
	var key crypto.Signer
	for _, b := range blocks {
		if !strings.HasSuffix(b.Type, "PRIVATE KEY") {
			continue
		}
		if key != nil {
			return nil, fmt.Errorf("%w: more than one key in the file", ErrKey)
		}
		if key, err = blockKey(b); err != nil {
			return nil, err
		}
	}
	if key == nil {
		return nil, fmt.Errorf("%w: no private key among the PEM blocks: %s", ErrKey, types(blocks))
	}
	return key, nil
}

func blockKey(b *pem.Block) (crypto.Signer, error) {
	switch {
	case b.Type == "ENCRYPTED PRIVATE KEY", strings.Contains(b.Headers["Proc-Type"], "ENCRYPTED"):
		return nil, fmt.Errorf("%w: %s", ErrEncryptedKey, decryptHint)
	case b.Type == "OPENSSH PRIVATE KEY":
		return nil, fmt.Errorf("%w: it is in OpenSSH's format: convert a copy with `ssh-keygen -p -m PEM -f COPY`", ErrKey)
	}
	return parseKey(b.Bytes)
}

// isEncrypted reports whether der is an EncryptedPrivateKeyInfo (RFC 5958,
// section 3).
func isEncrypted(der []byte) bool {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	rest, err := asn1.Unmarshal(der, &info)
	return err == nil && len(rest) == 0
}

// parseKey reads DER in PKCS#8, PKCS#1 or SEC 1. The parsers' words are left
// out: they guess at the format.
func parseKey(der []byte) (crypto.Signer, error) {
	if len(der) > maxKey {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrKey, len(der), maxKey)
	}
	if k, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return signer(k)
	}
	if k, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return k, nil
	}
	if k, err := x509.ParseECPrivateKey(der); err == nil {
		return k, nil
	}
	return nil, fmt.Errorf("%w: neither PKCS#8 nor PKCS#1 nor SEC 1, or damaged, or on an unusual curve", ErrKey)
}

func signer(key any) (crypto.Signer, error) {
	s, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: a key of type %T cannot sign", ErrKeyKind, key)
	}
	return s, nil
}

// isKeyOf reports whether the two are a pair.
func isKeyOf(key crypto.Signer, c *x509.Certificate) bool {
	pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && pub.Equal(c.PublicKey)
}

// checkKey names the kind of a server's key and refuses what clients refuse.
func checkKey(pub crypto.PublicKey, minBits int) (string, error) {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen()), checkRSA(k, minBits)
	case *ecdsa.PublicKey:
		kind := "ECDSA " + k.Curve.Params().Name
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() {
			return "", fmt.Errorf("%w: %s: use ECDSA P-256 or RSA 2048", ErrKeyKind, kind)
		}
		return kind, nil
	}
	kind := strings.TrimPrefix(fmt.Sprintf("%T", pub), "*")
	if kind == "ed25519.PublicKey" {
		kind = "Ed25519"
	}
	return "", fmt.Errorf("%w: %s: use ECDSA P-256 or RSA 2048", ErrKeyKind, kind)
}

func checkRSA(k *rsa.PublicKey, minBits int) error {
	if bits := k.N.BitLen(); bits < minBits {
		return fmt.Errorf("%w: RSA key of %d bits, want at least %d", ErrWeakKey, bits, minBits)
	} else if bits > maxRSABits {
		return fmt.Errorf("%w: RSA key of %d bits, want at most %d", ErrKeyKind, bits, maxRSABits)
	}
	return nil
}
