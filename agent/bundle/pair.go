package bundle

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"fmt"
)

// checkPair refuses a key of another certificate, and one in another form than
// FromPEM gives it: the same key has to be the same bundle.
func checkPair(b Bundle, leaf *x509.Certificate) error {
	der := b.Key.Reveal()
	if isPairP256(der, leaf) {
		return nil
	}
	key, err := parseKey(der)
	if err != nil {
		return err
	}
	if !isKeyOf(key, leaf) {
		return fmt.Errorf("%w: it is not the key of %q", ErrKeyMismatch, label(leaf))
	}
	again, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrKey, err)
	}
	if !bytes.Equal(der, again) {
		return fmt.Errorf("%w: not in canonical PKCS#8", ErrKey)
	}
	return nil
}

// What canonical PKCS#8 of a key on P-256 has before the private and before the
// public key (RFC 5208, RFC 5915, RFC 5480), and their sizes in bytes.
const (
	headP256 = "\x30\x81\x87\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x04\x6d\x30\x6b\x02\x01\x01\x04\x20"
	midP256  = "\xa1\x44\x03\x42\x00"
	keyP256  = 32
	pubP256  = 65
)

// isPairP256 reports whether der is the canonical PKCS#8 of the leaf's key on
// P-256, in half the time that its parts take one by one.
func isPairP256(der []byte, leaf *x509.Certificate) bool {
	rest, ok := bytes.CutPrefix(der, []byte(headP256))
	if !ok || len(rest) != keyP256+len(midP256)+pubP256 || string(rest[keyP256:keyP256+len(midP256)]) != midP256 {
		return false
	}
	public, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return false
	}
	// The last field of what the leaf has of its key is the point (RFC 5480, section 2).
	want := rest[keyP256+len(midP256):]
	if !bytes.HasSuffix(leaf.RawSubjectPublicKeyInfo, want) {
		return false
	}
	key, err := ecdh.P256().NewPrivateKey(rest[:keyP256])
	return err == nil && bytes.Equal(key.PublicKey().Bytes(), want)
}
