package bundle_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// day is when the certificates of the tests are looked at.
var day = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// policy is the strict one.
var policy = bundle.Policy{Now: day}

// issued is a certificate with its key.
type issued struct {
	cert *x509.Certificate
	key  crypto.Signer
}

var serials atomic.Int64

// edit changes a certificate before it is signed.
type edit func(*x509.Certificate)

// issue signs a certificate of 90 days around day with the issuer's key, or
// with its own if there is no issuer.
func issue(tb testing.TB, by *issued, key crypto.Signer, edits ...edit) *issued {
	tb.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(0xa000 + serials.Add(1)),
		NotBefore:    day.AddDate(0, 0, -30), NotAfter: day.AddDate(0, 0, 60),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	for _, e := range edits {
		e(c)
	}
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		tb.Fatal(err)
	}
	got, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return &issued{got, key}
}

func names(ns ...string) edit { return func(c *x509.Certificate) { c.DNSNames = ns } }

func ca(cn string) edit {
	return func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: cn, Organization: []string{"Test CA"}}
		c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign
	}
}

func valid(from, to time.Time) edit {
	return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = from, to }
}

func ec(tb testing.TB, curve elliptic.Curve) crypto.Signer {
	tb.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func p256(tb testing.TB) crypto.Signer { return ec(tb, elliptic.P256()) }

var rsaKeys = struct {
	sync.Mutex
	made map[int]*rsa.PrivateKey
}{made: map[int]*rsa.PrivateKey{}}

// rsaKey makes one key of each size.
func rsaKey(tb testing.TB, bits int) *rsa.PrivateKey {
	tb.Helper()
	rsaKeys.Lock()
	defer rsaKeys.Unlock()
	if k := rsaKeys.made[bits]; k != nil {
		return k
	}
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		tb.Fatal(err)
	}
	rsaKeys.made[bits] = k
	return k
}

// fixture is a root, two intermediates and a leaf of a.test and *.b.test.
type fixture struct{ root, upper, lower, leaf *issued }

func family(tb testing.TB, edits ...edit) fixture {
	tb.Helper()
	var f fixture
	f.root = issue(tb, nil, p256(tb), ca("Root"))
	f.upper = issue(tb, f.root, p256(tb), ca("Upper"))
	f.lower = issue(tb, f.upper, p256(tb), ca("Lower"))
	f.leaf = issue(tb, f.lower, p256(tb), append([]edit{names("a.test", "*.b.test")}, edits...)...)
	return f
}

// bundle is what has to be read from the family's files.
func (f fixture) bundle(tb testing.TB) bundle.Bundle {
	return bundleOf(tb, f.leaf, f.lower, f.upper)
}

func bundleOf(tb testing.TB, leaf *issued, chain ...*issued) bundle.Bundle {
	tb.Helper()
	b := bundle.Bundle{Leaf: leaf.cert.Raw, Key: fleet.NewSecret(pkcs8(tb, leaf.key))}
	for _, c := range chain {
		b.Chain = append(b.Chain, c.cert.Raw)
	}
	return b
}

func pkcs8(tb testing.TB, k crypto.Signer) []byte {
	tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// pems is a file of the certificates.
func pems(cs ...*issued) []byte {
	var out []byte
	for _, c := range cs {
		out = append(out, block("CERTIFICATE", c.cert.Raw)...)
	}
	return out
}

func keyPEM(tb testing.TB, k crypto.Signer) []byte { return block("PRIVATE KEY", pkcs8(tb, k)) }

// same compares bundles; a Secret cannot be compared by ==.
func same(a, b bundle.Bundle) bool {
	if !bytes.Equal(a.Leaf, b.Leaf) || !a.Key.Equal(b.Key) || len(a.Chain) != len(b.Chain) {
		return false
	}
	for i := range a.Chain {
		if !bytes.Equal(a.Chain[i], b.Chain[i]) {
			return false
		}
	}
	return true
}

// subjects names the certificates of a bundle for a test's output.
func subjects(b bundle.Bundle) string {
	var out []string
	for _, der := range append([][]byte{b.Leaf}, b.Chain...) {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Sprintf("unreadable: %v", err)
		}
		out = append(out, fmt.Sprintf("%s#%x", c.Subject.CommonName, c.SerialNumber))
	}
	return strings.Join(out, " <- ")
}

// wantError checks the sentinel and that the message has the text.
func wantError(tb testing.TB, call string, err, sentinel error, text string) {
	tb.Helper()
	if !errors.Is(err, sentinel) || !strings.Contains(err.Error(), text) {
		tb.Errorf("%s = %v, want %v with %q", call, err, sentinel, text)
	}
	if err != nil && (len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\n\r\x00\x1b")) {
		tb.Errorf("%s = %q, want a short error that a terminal can show", call, err)
	}
}
