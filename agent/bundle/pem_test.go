package bundle_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
)

func sec1(tb testing.TB, i *issued) []byte {
	tb.Helper()
	key, ok := i.key.(*ecdsa.PrivateKey)
	if !ok {
		tb.Fatalf("key is a %T", i.key)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

// edited replaces text in a file and fails if it is not there.
func edited(tb testing.TB, file []byte, old, with string) []byte {
	tb.Helper()
	if !bytes.Contains(file, []byte(old)) {
		tb.Fatalf("%q is not in the file", old)
	}
	return bytes.ReplaceAll(file, []byte(old), []byte(with))
}

func TestFromPEMReadsFiles(t *testing.T) {
	f := family(t)
	key, all := keyPEM(t, f.leaf.key), pems(f.leaf, f.lower, f.upper)
	params := block("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7})
	text := "Bag Attributes\n    friendlyName: a.test\nsubject=CN = a.test -----BEGIN nothing\n"
	cat := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	tests := map[string]struct{ cert, key []byte }{
		"PEM":                      {all, key},
		"reversed":                 {pems(f.upper, f.lower, f.leaf), key},
		"mixed":                    {pems(f.lower, f.leaf, f.upper), key},
		"extra root":               {pems(f.leaf, f.lower, f.upper, f.root), key},
		"root first":               {pems(f.root, f.upper, f.lower, f.leaf), key},
		"every one twice":          {cat(all, all), key},
		"cert.pem + fullchain.pem": {cat(pems(f.leaf), all), key},
		"CR LF":                    {edited(t, all, "\n", "\r\n"), edited(t, key, "\n", "\r\n")},
		"CR":                       {edited(t, all, "\n", "\r"), edited(t, key, "\n", "\r")},
		"no newline at the end":    {bytes.TrimRight(all, "\n"), bytes.TrimRight(key, "\n")},
		"leading text":             {cat([]byte(text), all), cat([]byte(text), key)},
		"text between":             {edited(t, all, "-----END CERTIFICATE-----\n", "-----END CERTIFICATE-----\n"+text), key},
		"byte order mark":          {cat([]byte("\ufeff"), all), cat([]byte("\ufeff"), key)},
		"indented":                 {edited(t, all, "\n", " \n    "), edited(t, key, "\n", "\t\n\t")},
		"old block name":           {edited(t, all, " CERTIFICATE-", " X509 CERTIFICATE-"), key},
		"DER":                      {cat(f.leaf.cert.Raw, f.lower.cert.Raw, f.upper.cert.Raw), pkcs8(t, f.leaf.key)},
		"key in SEC 1":             {all, block("EC PRIVATE KEY", sec1(t, f.leaf))},
		"key of openssl ecparam":   {all, cat(params, block("EC PRIVATE KEY", sec1(t, f.leaf)))},
		"key in SEC 1, DER":        {all, sec1(t, f.leaf)},
		"all in one file":          {cat(key, all), nil},
		"all in one, twice given":  {cat(key, all), cat(key, all)},
		"with the request":         {cat(block("CERTIFICATE REQUEST", []byte("x")), all), key},
	}
	want := f.bundle(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := bundle.FromPEM(tt.cert, tt.key)
			if err != nil || !same(got, want) {
				t.Errorf("FromPEM() = %s, %v, want %s", subjects(got), err, subjects(want))
			}
		})
	}
}

func TestFromPEMReadsRSA(t *testing.T) {
	f := family(t)
	key := rsaKey(t, 2048)
	leaf := issue(t, f.lower, key, names("a.test"))
	want := bundleOf(t, leaf, f.lower)
	for name, file := range map[string][]byte{
		"PKCS#8":      keyPEM(t, leaf.key),
		"PKCS#1":      block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)),
		"PKCS#1, DER": x509.MarshalPKCS1PrivateKey(key),
	} {
		got, err := bundle.FromPEM(pems(leaf, f.lower), file)
		if err != nil || !same(got, want) {
			t.Errorf("FromPEM(key in %s) = %s, %v, want %s", name, subjects(got), err, subjects(want))
		}
	}
}

// encrypted is a key as openssl writes it with a password.
func encrypted(tb testing.TB) []byte {
	tb.Helper()
	der, err := asn1.Marshal(struct {
		Algorithm struct{ OID asn1.ObjectIdentifier }
		Data      []byte
	}{struct{ OID asn1.ObjectIdentifier }{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}}, make([]byte, 160)})
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

func TestFromPEMRefusesFiles(t *testing.T) {
	f := family(t)
	other := family(t)
	all, key := pems(f.leaf, f.lower, f.upper), keyPEM(t, f.leaf.key)
	legacy := pem.EncodeToMemory(&pem.Block{
		Type: "EC PRIVATE KEY", Bytes: sec1(t, f.leaf),
		Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"},
	})
	damaged := slices.Clone(all)
	copy(damaged[bytes.LastIndex(damaged, []byte("MII")):], "!!!")
	tests := map[string]struct {
		cert, key []byte
		want      error
		text      string
	}{
		"nothing":                  {nil, nil, bundle.ErrFormat, "neither PEM nor a certificate in DER"},
		"no key":                   {all, nil, bundle.ErrKey, `no private key among the PEM blocks: "CERTIFICATE"`},
		"no certificate":           {key, key, bundle.ErrFormat, `no certificate among its PEM blocks: "PRIVATE KEY"`},
		"a request":                {block("CERTIFICATE REQUEST", []byte("x")), key, bundle.ErrFormat, "CERTIFICATE REQUEST"},
		"text":                     {[]byte("hello\n"), key, bundle.ErrFormat, "neither"},
		"key is text":              {all, []byte("hello\n"), bundle.ErrKey, "neither PKCS#8"},
		"certificate of garbage":   {block("CERTIFICATE", []byte("x")), key, bundle.ErrFormat, "PEM block 1"},
		"DER and a byte":           {append(slices.Clone(f.leaf.cert.Raw), 0), key, bundle.ErrFormat, "neither"},
		"DER cut":                  {f.leaf.cert.Raw[:200], key, bundle.ErrFormat, "neither"},
		"damaged block":            {damaged, key, bundle.ErrFormat, "1 of 3 PEM blocks are damaged"},
		"cut in the last block":    {all[:len(all)-100], key, bundle.ErrFormat, "1 of 3 PEM blocks are damaged"},
		"begin within a line":      {[]byte("x -----BEGIN CERTIFICATE-----"), key, bundle.ErrFormat, "damaged"},
		"key of garbage":           {all, block("PRIVATE KEY", []byte("x")), bundle.ErrKey, "neither PKCS#8"},
		"huge key":                 {all, block("PRIVATE KEY", make([]byte, 9<<10)), bundle.ErrKey, "9216 bytes, at most 8192"},
		"two keys":                 {all, append(slices.Clone(key), keyPEM(t, other.leaf.key)...), bundle.ErrKey, "more than one key"},
		"encrypted key":            {all, block("ENCRYPTED PRIVATE KEY", encrypted(t)), bundle.ErrEncryptedKey, "openssl pkey -in"},
		"encrypted key, old":       {all, legacy, bundle.ErrEncryptedKey, "openssl pkey -in"},
		"encrypted key, DER":       {all, encrypted(t), bundle.ErrEncryptedKey, "openssl pkey -in"},
		"key of OpenSSH":           {all, block("OPENSSH PRIVATE KEY", []byte("x")), bundle.ErrKey, "ssh-keygen -p"},
		"key of another":           {all, keyPEM(t, other.leaf.key), bundle.ErrKeyMismatch, "not the key of"},
		"key of another, self":     {pems(f.root), key, bundle.ErrKeyMismatch, `not the key of "Root"`},
		"chain without leaf":       {pems(f.lower, f.upper, f.root), key, bundle.ErrLeaf, "the leaf is missing"},
		"two leaves":               {pems(f.leaf, other.leaf), key, bundle.ErrLeaf, "a second leaf"},
		"two leaves of one key":    {pems(f.leaf, issue(t, f.lower, f.leaf.key, names("a.test"))), key, bundle.ErrLeaf, "2 certificates belong to the key"},
		"missing intermediate":     {pems(f.leaf, f.upper), key, bundle.ErrChain, `"Upper" issued nothing in the file: the chain ends with "a.test", issued by "Lower"`},
		"chain of another":         {pems(f.leaf, f.lower, f.upper, issue(t, other.root, p256(t), ca("Stranger"))), key, bundle.ErrChain, `"Stranger" issued nothing`},
		"root of another":          {pems(f.leaf, f.lower, f.upper, issue(t, nil, p256(t), ca("Alien"))), key, bundle.ErrChain, `"Alien" issued nothing`},
		"same name, other signer":  {pems(f.leaf, other.lower), key, bundle.ErrChain, "signature does not hold"},
		"issuer twice":             {pems(f.leaf, f.lower, issue(t, other.root, f.lower.key, ca("Lower"))), key, bundle.ErrChain, `2 certificates of the issuer "Lower"`},
		"self-signed and a chain":  {pems(f.root, f.upper), keyPEM(t, f.root.key), bundle.ErrChain, `"Upper" issued nothing`},
		"more than a MiB":          {bytes.Repeat([]byte("\n"), 1<<20+1), key, bundle.ErrSize, "1048577 bytes"},
		"name to break a terminal": {pems(f.leaf, issue(t, nil, p256(t), ca("a\x1b[2J\nb"))), key, bundle.ErrChain, `"a?[2J?b"`},
		"no name at all":           {pems(issue(t, other.leaf, f.leaf.key), other.leaf), key, bundle.ErrChain, `"a.test" has the name of the issuer of "serial number `},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := bundle.FromPEM(tt.cert, tt.key)
			wantError(t, "FromPEM()", err, tt.want, tt.text)
			wantError(t, "FromPEM()", err, bundle.ErrBundle, "read certificate: ")
			if !same(got, bundle.Bundle{}) {
				t.Errorf("FromPEM() = %s, want nothing", subjects(got))
			}
		})
	}
}

func TestFromPEMKeepsCrossSignedIssuer(t *testing.T) {
	f := family(t)
	old := issue(t, nil, p256(t), ca("Old Root"))
	cross := issue(t, old, f.root.key, ca("Root")) // the root's key, certified by an older root
	want := bundleOf(t, f.leaf, f.lower, f.upper, cross)
	for name, cert := range map[string][]byte{
		"alone":           pems(f.leaf, f.lower, f.upper, cross),
		"with both roots": pems(f.root, old, cross, f.upper, f.lower, f.leaf),
	} {
		got, err := bundle.FromPEM(cert, keyPEM(t, f.leaf.key))
		if err != nil || !same(got, want) {
			t.Errorf("FromPEM(%s) = %s, %v, want %s", name, subjects(got), err, subjects(want))
		}
	}
}

// TestFromPEMTellsOldRootsFromOldIssuers has SHA-1 signatures, which Go does not
// take in a chain: a root's counts for nothing, an issuer's is for Check to
// refuse.
func TestFromPEMTellsOldRootsFromOldIssuers(t *testing.T) {
	sha1 := func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA1WithRSA }
	root := issue(t, nil, rsaKey(t, 2048), ca("Old Root"), sha1)
	issuer := issue(t, root, p256(t), ca("Issuer"))
	old := issue(t, root, issuer.key, ca("Issuer"), sha1)
	leaf := issue(t, issuer, p256(t), names("a.test"))
	for name, tt := range map[string]struct {
		cert  []byte
		chain *issued
	}{
		"root":   {pems(leaf, issuer, root), issuer},
		"issuer": {pems(leaf, old), old},
	} {
		got, err := bundle.FromPEM(tt.cert, keyPEM(t, leaf.key))
		if want := bundleOf(t, leaf, tt.chain); err != nil || !same(got, want) {
			t.Errorf("FromPEM(SHA-1 %s) = %s, %v, want %s", name, subjects(got), err, subjects(want))
		}
	}
}

func TestFromPEMLeafOfRoot(t *testing.T) {
	root := issue(t, nil, p256(t), ca("Root"))
	leaf := issue(t, root, p256(t), names("a.test"))
	for name, cert := range map[string][]byte{"alone": pems(leaf), "with root": pems(leaf, root)} {
		got, err := bundle.FromPEM(cert, keyPEM(t, leaf.key))
		if want := bundleOf(t, leaf); err != nil || !same(got, want) {
			t.Errorf("FromPEM(%s) = %s, %v, want the leaf without a chain", name, subjects(got), err)
		}
	}
}

// ladder is a leaf below n intermediates and a root.
func ladder(tb testing.TB, n int) []*issued {
	tb.Helper()
	path := []*issued{issue(tb, nil, p256(tb), ca("Root"))}
	for i := range n {
		path = append(path, issue(tb, path[i], p256(tb), ca(fmt.Sprintf("CA %d", i))))
	}
	path = append(path, issue(tb, path[n], p256(tb), names("a.test")))
	slices.Reverse(path)
	return path
}

func TestFromPEMBoundsChain(t *testing.T) {
	for n, text := range map[int]string{10: "", 11: "11 issuers, at most 10", 100: "102 certificates in the file"} {
		path := ladder(t, n)
		got, err := bundle.FromPEM(pems(path...), keyPEM(t, path[0].key))
		if text != "" {
			wantError(t, fmt.Sprintf("FromPEM(%d issuers)", n), err, bundle.ErrChain, text)
			continue
		}
		if err != nil || len(got.Chain) != n {
			t.Fatalf("FromPEM(%d issuers) = %d of them, %v", n, len(got.Chain), err)
		}
		if _, err := bundle.Check(got, policy); err != nil {
			t.Errorf("Check(%d issuers) = %v, want nil", n, err)
		}
	}
}

func TestFromPEMErrorsShowNoKey(t *testing.T) {
	f := family(t)
	key := keyPEM(t, f.leaf.key)
	body := base64.StdEncoding.EncodeToString(pkcs8(t, f.leaf.key))[60:100]
	for n := range len(key) - 1 {
		_, err := bundle.FromPEM(pems(f.leaf), key[:n])
		if n < len(key)-2 && err == nil {
			t.Fatalf("FromPEM(first %d bytes of the key) = nil, want an error", n)
		}
		if err != nil && strings.Contains(err.Error(), body[:8]) {
			t.Fatalf("FromPEM(first %d bytes of the key) = %v, shows the key", n, err)
		}
	}
}

func FuzzFromPEM(f *testing.F) {
	fam := family(f)
	key, all := keyPEM(f, fam.leaf.key), pems(fam.leaf, fam.lower, fam.upper, fam.root)
	f.Add(all, key)
	f.Add(append(all, key...), []byte(nil))
	f.Add(pems(fam.upper, fam.leaf), key)
	f.Add(pems(fam.root), keyPEM(f, fam.root.key))
	f.Add(fam.leaf.cert.Raw, pkcs8(f, fam.leaf.key))
	f.Add(edited(f, all, "\n", "\r\n"), sec1(f, fam.leaf))
	f.Add([]byte("-----BEGIN CERTIFICATE-----"), block("ENCRYPTED PRIVATE KEY", encrypted(f)))
	f.Fuzz(func(t *testing.T, cert, key []byte) {
		b, err := bundle.FromPEM(cert, key)
		if err != nil {
			wantError(t, "FromPEM()", err, bundle.ErrBundle, "")
			return
		}
		again, err := bundle.FromPEM(bundle.FullchainPEM(b), bundle.KeyPEM(b).Reveal())
		if err != nil || !same(again, b) {
			t.Fatalf("FromPEM(FullchainPEM(), KeyPEM()) = %s, %v, want %s", subjects(again), err, subjects(b))
		}
		if _, err := bundle.Check(b, policy); err != nil {
			wantError(t, "Check()", err, bundle.ErrBundle, "")
		}
	})
}
