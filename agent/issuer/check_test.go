package issuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// testCA issues whatever it is told to.
type testCA struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newTestCA(t *testing.T) testCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Intermediate"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(5, 0, 0),
	}
	root := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "Root"}}
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, root, key.Public(), rootKey)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return testCA{key, c}
}

// issue is a chain in PEM for a key.
func (ca testCA) issue(t *testing.T, pub *ecdsa.PublicKey, from, to time.Time, names ...string) []byte {
	t.Helper()
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: names, NotBefore: from, NotAfter: to,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca.cert, pub, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})...)
}

func TestCheckRefusesWhatWasNotOrdered(t *testing.T) {
	ca, other := newTestCA(t), newTestCA(t)
	it := ordered(t, "a.test", "b.test")
	key, err := ParseKey(it.Order.Key)
	if err != nil {
		t.Fatal(err)
	}
	own := &key.PublicKey
	now := time.Now()
	from, to := now.Add(-time.Hour), now.AddDate(0, 0, 90)
	good := ca.issue(t, own, from, to, "a.test", "b.test")
	_, chain := pem.Decode(good)
	leafOnly := good[:len(good)-len(chain)]
	_, otherChain := pem.Decode(other.issue(t, own, from, to, "a.test"))
	tests := map[string]struct {
		pem  []byte
		good bool
	}{
		"as ordered":             {good, true},
		"names in another order": {ca.issue(t, own, from, to, "b.test", "a.test"), true},
		"clock an hour behind":   {ca.issue(t, own, now.Add(time.Hour), to, "a.test", "b.test"), true},
		"key of somebody else":   {ca.issue(t, &other.key.PublicKey, from, to, "a.test", "b.test"), false},
		"a name less":            {ca.issue(t, own, from, to, "a.test"), false},
		"a name more":            {ca.issue(t, own, from, to, "a.test", "b.test", "c.test"), false},
		"other names":            {ca.issue(t, own, from, to, "c.test", "d.test"), false},
		"expired":                {ca.issue(t, own, now.AddDate(0, 0, -90), now.Add(-time.Minute), "a.test", "b.test"), false},
		"from the day after":     {ca.issue(t, own, now.AddDate(0, 0, 2), to, "a.test", "b.test"), false},
		"five minutes":           {ca.issue(t, own, now.Add(-time.Minute), now.Add(4*time.Minute), "a.test", "b.test"), false},
		"ten years":              {ca.issue(t, own, from, now.AddDate(10, 0, 0), "a.test", "b.test"), false},
		"no chain":               {leafOnly, false},
		"another chain":          {append(append([]byte(nil), leafOnly...), otherChain...), false},
		"reversed":               {append(append([]byte(nil), chain...), leafOnly...), true}, // and put in order
		"nothing":                {nil, false},
		"HTML":                   {[]byte("<html>"), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := check(it, tt.pem, now)
			if tt.good && err != nil {
				t.Errorf("check() = %v, want nil", err)
			}
			if !tt.good && !errors.Is(err, ErrOther) {
				t.Errorf("check() = %v, want %v", err, ErrOther)
			}
		})
	}
}

func TestThumbprint(t *testing.T) {
	secret, err := NewAccountKey()
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParseKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Thumbprint(key)
	if err != nil || !fleet.IsThumbprint(got) {
		t.Errorf("Thumbprint() = %q, %v", got, err)
	}
}
