package store_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// ca is an intermediate CA that issues leaves.
type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issuer is the CA of all tests but those that want their own chain.
var issuer = sync.OnceValues(newCA)

func newCA() (*ca, error) {
	root, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	cert := template("Test Intermediate")
	cert.IsCA, cert.BasicConstraintsValid, cert.KeyUsage = true, true, x509.KeyUsageCertSign
	parent := template("Test Root")
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, key.Public(), root)
	if err != nil {
		return nil, err
	}
	cert, err = x509.ParseCertificate(der)
	return &ca{cert, key}, err
}

func template(cn string, names ...string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: cn, Organization: []string{"Test"}}, DNSNames: names,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(90 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
}

// issue makes a certificate for the names, each time a new one.
func (c *ca) issue(tb testing.TB, names ...string) store.Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	leaf := template(names[0], names...)
	der, err := x509.CreateCertificate(rand.Reader, leaf, c.cert, key.Public(), c.key)
	if err != nil {
		tb.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return store.Certificate{
		Bundle: bundle.Bundle{Leaf: der, Key: fleet.NewSecret(pkcs8), Chain: [][]byte{c.cert.Raw}},
		Names:  names,
		Entry:  fleet.Entry{NotAfter: leaf.NotAfter, Source: fleet.SourceImport, Issuer: "Test Intermediate"},
	}
}

// certificate is a new certificate of the tests' CA for the names.
func certificate(tb testing.TB, names ...string) store.Certificate {
	tb.Helper()
	c, err := issuer()
	if err != nil {
		tb.Fatal(err)
	}
	return c.issue(tb, names...)
}

// many is one certificate for each of n names.
func many(tb testing.TB, n int, domain string) []store.Certificate {
	tb.Helper()
	certs := make([]store.Certificate, n)
	for i := range certs {
		certs[i] = certificate(tb, fmt.Sprintf("www%d.%s", i, domain))
	}
	return certs
}

func bundleKey(hash fleet.Hash) string { return "bundles/" + hash.String() }

func chainKey(c store.Certificate) string {
	return "chains/" + bundle.ChainHash(c.Bundle.Chain).String()
}

func shardKey(name string) string { return fmt.Sprintf("inventory/shards/%d", inventory.ShardOf(name)) }

func put(certs ...store.Certificate) store.Edit { return store.Edit{Put: certs, Now: time.Now()} }

func remove(names ...string) store.Edit { return store.Edit{Remove: names, Now: time.Now()} }

// edit makes an edit that has to succeed.
func (w world) edit(tb testing.TB, e store.Edit) store.Edited {
	tb.Helper()
	done, err := w.EditInventory(tb.Context(), e, "", nil)
	if err != nil {
		tb.Fatalf("EditInventory() = %v, want nil", err)
	}
	return done
}

// served reads the whole inventory: which bundle each name is served with.
func (w world) served(tb testing.TB) map[string]fleet.Hash {
	tb.Helper()
	head, err := w.Head(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	var numbers []int
	for n, epoch := range head.Head.Shards {
		if epoch > 0 {
			numbers = append(numbers, n)
		}
	}
	shards, bad, err := w.Shards(tb.Context(), numbers)
	if err != nil || len(bad) > 0 {
		tb.Fatalf("Shards() = %v, %v", bad, err)
	}
	names := map[string]fleet.Hash{}
	for _, rec := range shards {
		if want := head.Head.Shards[rec.Shard.Number]; rec.Shard.Epoch != want {
			tb.Errorf("shard %d is at epoch %d, the head says %d", rec.Shard.Number, rec.Shard.Epoch, want)
		}
		for _, e := range rec.Shard.Entries {
			if !e.Removed {
				names[e.Name] = e.Bundle
			}
		}
	}
	if len(names) != head.Head.Names {
		tb.Errorf("the shards have %d names, the head says %d", len(names), head.Head.Names)
	}
	return names
}
