package bundle_test

import (
	"bytes"
	"crypto/x509"
	"slices"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func pfx(tb testing.TB, enc *pkcs12.Encoder, password string, leaf *issued, issuers ...*issued) []byte {
	tb.Helper()
	var cas []*x509.Certificate
	for _, c := range issuers {
		cas = append(cas, c.cert)
	}
	data, err := enc.Encode(leaf.key, leaf.cert, cas, password)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func TestFromPKCS12ReadsFiles(t *testing.T) {
	f := family(t)
	tests := map[string]struct {
		data     []byte
		password string
	}{
		"as OpenSSL 3":         {pfx(t, pkcs12.Modern2023, "sesame", f.leaf, f.lower, f.upper), "sesame"},
		"MAC of its own":       {pfx(t, pkcs12.Modern2026, "sesame", f.leaf, f.lower, f.upper), "sesame"},
		"triple DES":           {pfx(t, pkcs12.LegacyDES, "sesame", f.leaf, f.lower, f.upper), "sesame"},
		"RC2":                  {pfx(t, pkcs12.LegacyRC2, "sesame", f.leaf, f.lower, f.upper), "sesame"},
		"no password":          {pfx(t, pkcs12.Passwordless, "", f.leaf, f.lower, f.upper), ""},
		"empty password":       {pfx(t, pkcs12.Modern2023, "", f.leaf, f.lower, f.upper), ""},
		"umlauts":              {pfx(t, pkcs12.LegacyDES, "schlüssel", f.leaf, f.lower, f.upper), "schlüssel"},
		"with root, reversed":  {pfx(t, pkcs12.Modern2023, "sesame", f.leaf, f.root, f.upper, f.lower), "sesame"},
		"the chain first":      {pfx(t, pkcs12.Passwordless, "", &issued{f.lower.cert, f.leaf.key}, f.leaf, f.upper), ""},
		"600,000 hash rounds":  {pfx(t, pkcs12.Modern2023.WithIterations(600_000), "sesame", f.leaf, f.lower, f.upper), "sesame"},
		"twice the same issue": {pfx(t, pkcs12.Modern2023, "sesame", f.leaf, f.lower, f.lower, f.upper), "sesame"},
	}
	want := f.bundle(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := bundle.FromPKCS12(tt.data, fleet.NewSecret([]byte(tt.password)))
			if err != nil || !same(got, want) {
				t.Errorf("FromPKCS12() = %s, %v, want %s", subjects(got), err, subjects(want))
			}
			if !bundle.IsPKCS12(tt.data) {
				t.Error("IsPKCS12() = false, want true")
			}
		})
	}
}

func TestFromPKCS12Refuses(t *testing.T) {
	f, other := family(t), family(t)
	good := pfx(t, pkcs12.Modern2023, "sesame", f.leaf, f.lower, f.upper)
	store, err := pkcs12.Modern2023.EncodeTrustStore([]*x509.Certificate{f.root.cert}, "sesame")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		data []byte
		want error
		text string
	}{
		"wrong password":      {pfx(t, pkcs12.Modern2023, "seems", f.leaf), bundle.ErrPassword, "wrong password"},
		"wrong, MAC of own":   {pfx(t, pkcs12.Modern2026, "seems", f.leaf), bundle.ErrPassword, "wrong password"},
		"empty":               {nil, bundle.ErrFormat, "openssl pkcs12 -in"},
		"text":                {[]byte("hello"), bundle.ErrFormat, "openssl pkcs12 -in"},
		"PEM":                 {pems(f.leaf), bundle.ErrFormat, "not PKCS#12"},
		"a certificate":       {f.leaf.cert.Raw, bundle.ErrFormat, "not PKCS#12"},
		"cut":                 {good[:len(good)-1], bundle.ErrFormat, "not PKCS#12"},
		"trailing byte":       {append(slices.Clone(good), 0), bundle.ErrFormat, "not PKCS#12"},
		"certificates only":   {store, bundle.ErrFormat, "private key missing"},
		"key of another":      {pfx(t, pkcs12.Modern2023, "sesame", &issued{f.leaf.cert, other.leaf.key}), bundle.ErrKeyMismatch, "a.test"},
		"gap":                 {pfx(t, pkcs12.Modern2023, "sesame", f.leaf, f.upper), bundle.ErrChain, `"Upper" issued nothing`},
		"hashed for hours":    {rounds(t, pfx(t, pkcs12.Modern2023.WithIterations(90_000), "", f.leaf)), bundle.ErrFormat, "hashed 8388607 times"},
		"the same, MAC of it": {rounds(t, pfx(t, pkcs12.Modern2026.WithIterations(90_000), "", f.leaf)), bundle.ErrFormat, "hashed 8388607 times"},
		"more than a MiB":     {make([]byte, 1<<20+1), bundle.ErrSize, "1048577 bytes"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := bundle.FromPKCS12(tt.data, fleet.NewSecret([]byte("sesame")))
			wantError(t, "FromPKCS12()", err, tt.want, tt.text)
			wantError(t, "FromPKCS12()", err, bundle.ErrBundle, "read PKCS#12: ")
			if !same(got, bundle.Bundle{}) || strings.Contains(err.Error(), "sesame") {
				t.Errorf("FromPKCS12() = %s, %v, want nothing", subjects(got), err)
			}
		})
	}
	for name, data := range map[string][]byte{"PEM": pems(f.leaf), "certificate": f.leaf.cert.Raw, "key": pkcs8(t, f.leaf.key), "nothing": nil, "version 2": bytes.Replace(good, []byte{2, 1, 3}, []byte{2, 1, 2}, 1)} {
		if bundle.IsPKCS12(data) {
			t.Errorf("IsPKCS12(%s) = true, want false", name)
		}
	}
}

// rounds writes another number of rounds in place of 90,000.
func rounds(tb testing.TB, data []byte) []byte {
	tb.Helper()
	few, many := []byte{2, 3, 0x01, 0x5f, 0x90}, []byte{2, 3, 0x7f, 0xff, 0xff}
	if !bytes.Contains(data, few) {
		tb.Fatal("90,000 rounds are not in the file")
	}
	return bytes.ReplaceAll(data, few, many)
}

func FuzzFromPKCS12(f *testing.F) {
	fam := family(f)
	f.Add(pfx(f, pkcs12.Modern2023, "", fam.leaf, fam.lower, fam.upper))
	f.Add(pfx(f, pkcs12.Passwordless, "", fam.leaf, fam.lower, fam.upper))
	f.Add(pfx(f, pkcs12.Modern2026.WithIterations(1), "", fam.leaf))
	f.Add(pfx(f, pkcs12.LegacyRC2.WithIterations(1), "", fam.leaf, fam.upper))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := bundle.FromPKCS12(data, fleet.Secret{})
		if err != nil {
			wantError(t, "FromPKCS12()", err, bundle.ErrBundle, "")
			return
		}
		again, err := bundle.FromPEM(bundle.FullchainPEM(b), bundle.KeyPEM(b).Reveal())
		if err != nil || !same(again, b) {
			t.Fatalf("FromPEM(FullchainPEM(), KeyPEM()) = %s, %v, want %s", subjects(again), err, subjects(b))
		}
	})
}
