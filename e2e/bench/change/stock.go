package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base32"
	"encoding/pem"
	"fmt"
	"math/big"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// issuerName is what the certificates say of their issuer.
const issuerName = "Bench Issuer E1"

// sctBytes is the size of the list of two signed certificate timestamps that
// public CAs put into each leaf (RFC 6962, section 3.3).
const sctBytes = 242

// stock makes certificates of the size that public CAs issue. They share one
// key, because keys are slow to make and all of one size.
type stock struct {
	issuer *x509.Certificate
	caKey  *ecdsa.PrivateKey
	key    *ecdsa.PrivateKey
	pkcs8  []byte
	made   time.Time // when the first certificates were made
}

// leaf is one certificate for one name.
type leaf struct {
	name     string
	der      []byte
	notAfter time.Time
}

func newStock() (*stock, error) {
	s := &stock{made: time.Now()}
	var err error
	if s.caKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("make CA: %w", err)
	}
	if s.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	if s.pkcs8, err = x509.MarshalPKCS8PrivateKey(s.key); err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	rootKey, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make CA: %w", err)
	}
	root := s.authority("Bench Root X1")
	der, err := x509.CreateCertificate(rand.Reader, s.authority(issuerName), root, s.caKey.Public(), rootKey)
	if err != nil {
		return nil, fmt.Errorf("make CA: %w", err)
	}
	if s.issuer, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("make CA: %w", err)
	}
	return s, nil
}

func (s *stock) authority(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name, Organization: []string{"Bench"}, Country: []string{"US"}},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, SubjectKeyId: []byte(name),
		NotBefore: s.made.AddDate(-1, 0, 0), NotAfter: s.made.AddDate(5, 0, 0),
		CRLDistributionPoints: []string{"http://x1.crl.bench.test/"}, IssuingCertificateURL: []string{"http://x1.crt.bench.test/"},
	}
}

// nameOf is the i-th name: as little alike as the domains of strangers are.
func nameOf(i int) string {
	sum := sha256.Sum256(fmt.Append(nil, i))
	label := strings.ToLower(base32.StdEncoding.EncodeToString(sum[:10]))
	return label[:6+sum[10]%9] + [...]string{".com", ".net", ".org", ".example"}[sum[11]%4]
}

// issue makes a new certificate for a name.
func (s *stock) issue(name string) (leaf, error) {
	var random [16 + sctBytes]byte
	rand.Read(random[:])
	serial := new(big.Int).SetBytes(append([]byte{3}, random[:16]...))
	sct, err := asn1.Marshal(random[16:])
	if err != nil {
		return leaf{}, fmt.Errorf("issue %s: %w", name, err)
	}
	// Ages of certificates are spread over their life, as in a fleet.
	notAfter := s.made.Add(time.Duration(int(random[0])<<8|int(random[1])) * 90 * 24 * time.Hour / (1 << 16)).Add(24 * time.Hour).Truncate(time.Second)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true, NotBefore: notAfter.AddDate(0, 0, -90).Add(-24 * time.Hour), NotAfter: notAfter,
		SubjectKeyId: random[:16], IssuingCertificateURL: []string{"http://e1.crt.bench.test/"}, CRLDistributionPoints: []string{"http://e1.crl.bench.test/57.crl"},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}, Value: sct}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, s.issuer, s.key.Public(), s.caKey)
	if err != nil {
		return leaf{}, fmt.Errorf("issue %s: %w", name, err)
	}
	return leaf{name: name, der: der, notAfter: notAfter}, nil
}

// issueAll makes the certificates of the names numbered from to to.
func (s *stock) issueAll(ctx context.Context, from, to int) ([]leaf, error) {
	leaves := make([]leaf, to-from)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.NumCPU())
	for i := range leaves {
		g.Go(func() (err error) {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			leaves[i], err = s.issue(nameOf(from + i))
			return err
		})
	}
	return leaves, g.Wait()
}

// fullchain is the leaf and its issuer as nginx reads them.
func (s *stock) fullchain(l leaf) []byte {
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: l.der})
	return append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.issuer.Raw})...)
}

func (s *stock) privkey() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: s.pkcs8})
}
