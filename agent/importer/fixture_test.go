package importer_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/importer"
)

// pair is a certificate with its key.
type pair struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func ec(tb testing.TB) crypto.Signer {
	tb.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func sign(tb testing.TB, c *x509.Certificate, key crypto.Signer, by *pair) *pair {
	tb.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		tb.Fatal(err)
	}
	c.SerialNumber, c.BasicConstraintsValid = serial, true
	if c.NotAfter.IsZero() {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(90*24*time.Hour)
	}
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return &pair{cert, key}
}

// cas are a root and an intermediate, the same for all tests.
var cas = sync.OnceValue(func() (c struct{ root, lower *pair }) {
	tb := &testing.T{}
	c.root = sign(tb, &x509.Certificate{Subject: pkix.Name{CommonName: "Root"}, IsCA: true, KeyUsage: x509.KeyUsageCertSign}, ec(tb), nil)
	c.lower = sign(tb, &x509.Certificate{Subject: pkix.Name{CommonName: "Lower"}, IsCA: true, KeyUsage: x509.KeyUsageCertSign}, ec(tb), c.root)
	return c
})

// leaf is a new certificate of the intermediate.
func leaf(tb testing.TB, names ...string) *pair { return leafOf(tb, ec(tb), names...) }

func leafOf(tb testing.TB, key crypto.Signer, names ...string) *pair {
	tb.Helper()
	return sign(tb, &x509.Certificate{DNSNames: names, KeyUsage: x509.KeyUsageDigitalSignature}, key, cas().lower)
}

func rsaKey(tb testing.TB, bits int) crypto.Signer {
	tb.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func certPEM(certs ...*pair) string {
	var s strings.Builder
	for _, c := range certs {
		s.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw}))
	}
	return s.String()
}

func full(p *pair) string { return certPEM(p, cas().lower) }

func keyDER(tb testing.TB, p *pair) string {
	tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		tb.Fatal(err)
	}
	return string(der)
}

func keyPEM(tb testing.TB, p *pair) string {
	tb.Helper()
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte(keyDER(tb, p))}))
}

func pfx(tb testing.TB, p *pair, password string) string {
	tb.Helper()
	data, err := pkcs12.Modern2023.Encode(p.key, p.cert, []*x509.Certificate{cas().lower.cert}, password)
	if err != nil {
		tb.Fatal(err)
	}
	return string(data)
}

// tree writes files by their paths in a new folder. "-> x" is a link to x.
func tree(tb testing.TB, files map[string]string) string {
	tb.Helper()
	dir := tb.TempDir()
	for path, text := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			tb.Fatal(err)
		}
		var err error
		if to, isLink := strings.CutPrefix(text, "-> "); isLink {
			err = os.Symlink(to, path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o600)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

// find returns what is found as "path of certificate: names and length of
// chain" and what is refused by path, both relative to dir.
func find(tb testing.TB, o importer.Options, dir string, paths ...string) (map[string]string, map[string]error) {
	tb.Helper()
	for i, p := range paths {
		paths[i] = filepath.Join(dir, p)
	}
	got, bad, err := importer.Find(context.Background(), paths, o)
	if err != nil {
		tb.Fatalf("Find() = %v", err)
	}
	found, refused := map[string]string{}, map[string]error{}
	rel := func(p string) string { return strings.TrimPrefix(p, dir+"/") }
	for _, f := range got {
		x, err := x509.ParseCertificate(f.Bundle.Leaf)
		if err != nil {
			tb.Fatal(err)
		}
		text := strings.Join(x.DNSNames, " ") + strings.Repeat("+", len(f.Bundle.Chain))
		if f.Key != f.Path {
			text += " " + rel(f.Key)
		}
		if _, dup := found[rel(f.Path)]; dup {
			tb.Errorf("Find() has %s twice", rel(f.Path))
		}
		found[rel(f.Path)] = text
		if err := keyFits(f.Bundle); err != nil {
			tb.Errorf("Find() of %s: %v", f.Path, err)
		}
	}
	for _, r := range bad {
		refused[rel(r.Path)] = r.Err
	}
	return found, refused
}

func keyFits(b bundle.Bundle) error {
	_, err := bundle.Check(b, bundle.Policy{Now: time.Now(), AllowExpired: true, AllowNoChain: true, AllowSelfSigned: true, MinRSABits: 1024})
	return err
}
