package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// Authority issues certificates by an intermediate below a root.
type Authority struct {
	Roots *x509.CertPool // what clients trust

	issuer *x509.Certificate
	key    *ecdsa.PrivateKey
}

// Certificate is one that an Authority has issued.
type Certificate struct {
	Names  []string
	Serial string // in hexadecimal digits
	PEM    []byte // leaf, issuer and private key, as one file
}

// NewAuthority makes root and intermediate, valid for a year.
func NewAuthority() (*Authority, error) {
	rootKey, err := NewKey()
	if err != nil {
		return nil, err
	}
	a := &Authority{Roots: x509.NewCertPool()}
	if a.key, err = NewKey(); err != nil {
		return nil, err
	}
	root, err := sign(authorityCertificate("Lab Root"), nil, rootKey, rootKey)
	if err != nil {
		return nil, err
	}
	a.Roots.AddCert(root)
	a.issuer, err = sign(authorityCertificate("Lab Issuer"), root, a.key, rootKey)
	return a, err
}

// NewKey makes a P-256 key.
func NewKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return key, nil
}

// Issue makes a certificate with this key for the names.
func (a *Authority) Issue(key *ecdsa.PrivateKey, notAfter time.Time, names ...string) (Certificate, error) {
	leaf, err := sign(&x509.Certificate{
		DNSNames: names, KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: notAfter,
	}, a.issuer, key, a.key)
	if err != nil {
		return Certificate{}, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Certificate{}, fmt.Errorf("write key: %w", err)
	}
	var text []byte
	for _, b := range []pem.Block{{Type: "CERTIFICATE", Bytes: leaf.Raw}, {Type: "CERTIFICATE", Bytes: a.issuer.Raw}, {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		text = append(text, pem.EncodeToMemory(&b)...)
	}
	return Certificate{Names: names, Serial: leaf.SerialNumber.Text(16), PEM: text}, nil
}

func authorityCertificate(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
	}
}

// sign signs c, for key, with the key by of parent; without parent by itself.
func sign(c, parent *x509.Certificate, key, by *ecdsa.PrivateKey) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	c.SerialNumber = serial
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), by)
	if err == nil {
		c, err = x509.ParseCertificate(der)
	}
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return c, nil
}
