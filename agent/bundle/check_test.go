package bundle_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func TestCheckTellsWhatItIs(t *testing.T) {
	f := family(t)
	org := issue(t, nil, p256(t), ca(""), func(c *x509.Certificate) { c.Subject.Organization = []string{"Org\x1b\n" + strings.Repeat("x", 99)} })
	until := day.AddDate(0, 0, 60)
	tests := map[string]struct {
		leaf   *issued
		chain  []*issued
		policy bundle.Policy
		want   bundle.Info
	}{
		"ECDSA P-256": {f.leaf, []*issued{f.lower, f.upper}, policy, bundle.Info{Names: []string{"*.b.test", "a.test"}, Issuer: "Lower", KeyKind: "ECDSA P-256"}},
		"ECDSA P-384": {
			issue(t, f.lower, ec(t, elliptic.P384()), names("a.test")), []*issued{f.lower}, policy,
			bundle.Info{Names: []string{"a.test"}, Issuer: "Lower", KeyKind: "ECDSA P-384"},
		},
		"RSA 2048": {
			issue(t, f.upper, rsaKey(t, 2048), names("b.test", "A.Test", "a.TEST", "xn--bcher-kva.test")), []*issued{f.upper}, policy,
			bundle.Info{Names: []string{"a.test", "b.test", "xn--bcher-kva.test"}, Issuer: "Upper", KeyKind: "RSA 2048"},
		},
		"issuer without a common name": {
			issue(t, org, p256(t), names("a.test")), nil, bundle.Policy{Now: day, AllowNoChain: true},
			bundle.Info{Names: []string{"a.test"}, Issuer: "Org??" + strings.Repeat("x", 59), KeyKind: "ECDSA P-256"},
		},
		"self-signed": {
			issue(t, nil, p256(t), names("a.test"), func(c *x509.Certificate) { c.Subject.CommonName = "me" }), nil, bundle.Policy{Now: day, AllowSelfSigned: true},
			bundle.Info{Names: []string{"a.test"}, Issuer: "me", KeyKind: "ECDSA P-256", SelfSigned: true},
		},
		"self-signed CA, as openssl req -x509": {
			issue(t, nil, p256(t), ca("me"), names("a.test"), func(c *x509.Certificate) { c.KeyUsage = 0 }), nil, bundle.Policy{Now: day, AllowSelfSigned: true},
			bundle.Info{Names: []string{"a.test"}, Issuer: "me", KeyKind: "ECDSA P-256", SelfSigned: true},
		},
		"other kinds of names beside": {
			issue(t, f.upper, p256(t), names("a.test"), func(c *x509.Certificate) {
				c.IPAddresses, c.EmailAddresses = []net.IP{net.IPv4(10, 0, 0, 1)}, []string{"root@a.test"}
				c.URIs = []*url.URL{{Scheme: "spiffe", Host: "a.test"}}
			}), []*issued{f.upper}, policy,
			bundle.Info{Names: []string{"a.test"}, Issuer: "Upper", KeyKind: "ECDSA P-256"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.want.Serial = fmt.Sprintf("%x", tt.leaf.cert.SerialNumber)
			tt.want.NotBefore, tt.want.NotAfter = day.AddDate(0, 0, -30), until
			got, err := bundle.Check(bundleOf(t, tt.leaf, tt.chain...), tt.policy)
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("Check() = %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
}

// public is a key without its private half.
type public struct{ crypto.Signer }

func (public) Public() crypto.PublicKey {
	return &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 8192, 1), E: 65537}
}

func TestCheckRefusesKeys(t *testing.T) {
	f := family(t)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := func(key crypto.Signer) bundle.Bundle {
		return bundleOf(t, issue(t, f.lower, key, names("a.test")), f.lower, f.upper)
	}
	huge := f.bundle(t)
	huge.Leaf = issue(t, f.lower, public{f.lower.key}, names("a.test")).cert.Raw
	with := func(key []byte) bundle.Bundle {
		b := f.bundle(t)
		b.Key = fleet.NewSecret(key)
		return b
	}
	weakCA := issue(t, f.root, rsaKey(t, 1024), ca("Weak"))
	sha1 := func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA1WithRSA }
	strongCA := issue(t, f.root, rsaKey(t, 2048), ca("Strong"))
	tests := map[string]struct {
		b    bundle.Bundle
		want error
		text string
	}{
		"nothing":         {bundle.Bundle{}, bundle.ErrFormat, "no certificate"},
		"no key":          {with(nil), bundle.ErrKey, "empty"},
		"key of another":  {with(pkcs8(t, f.lower.key)), bundle.ErrKeyMismatch, `not the key of "a.test"`},
		"key of garbage":  {with([]byte("x")), bundle.ErrKey, "neither PKCS#8"},
		"key in SEC 1":    {with(sec1(t, f.leaf)), bundle.ErrKey, "canonical"},
		"huge key":        {with(make([]byte, 8193)), bundle.ErrSize, "8193 bytes, at most 8192"},
		"RSA 1024":        {leaf(rsaKey(t, 1024)), bundle.ErrWeakKey, "RSA key of 1024 bits, want at least 2048"},
		"RSA 8193":        {huge, bundle.ErrKeyKind, "8193 bits, want at most 8192"},
		"RSA 1024 issuer": {bundleOf(t, issue(t, weakCA, p256(t), names("a.test")), weakCA), bundle.ErrWeakKey, `"Weak"`},
		"P-224":           {leaf(ec(t, elliptic.P224())), bundle.ErrKeyKind, "ECDSA P-224: use ECDSA P-256"},
		"P-521":           {leaf(ec(t, elliptic.P521())), bundle.ErrKeyKind, "ECDSA P-521: use ECDSA P-256"},
		"Ed25519":         {leaf(ed), bundle.ErrKeyKind, "Ed25519: use ECDSA P-256"},
		"SHA-1 leaf":      {bundleOf(t, issue(t, strongCA, p256(t), names("a.test"), sha1), strongCA), bundle.ErrWeakKey, `"a.test" is signed with SHA1-RSA`},
		"SHA-1 above": {
			bundleOf(t, f.leaf, issue(t, strongCA, f.lower.key, ca("Lower"), sha1)), bundle.ErrWeakKey, `"Lower" is signed with SHA1-RSA`,
		},
		"SHA-1, self-signed": {bundleOf(t, issue(t, nil, rsaKey(t, 2048), names("a.test"), sha1)), bundle.ErrWeakKey, "SHA1-RSA"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := bundle.Check(tt.b, bundle.Policy{Now: day, AllowNoChain: true, AllowSelfSigned: true})
			wantError(t, "Check()", err, tt.want, tt.text)
			wantError(t, "Check()", err, bundle.ErrBundle, "check certificate: ")
		})
	}
	if _, err := bundle.Check(leaf(rsaKey(t, 1024)), bundle.Policy{Now: day, MinRSABits: 1024}); err != nil {
		t.Errorf("Check(RSA 1024, at least 1024) = %v, want nil", err)
	}
	if _, err := bundle.Check(leaf(rsaKey(t, 2048)), bundle.Policy{Now: day, MinRSABits: 3072}); err == nil {
		t.Error("Check(RSA 2048, at least 3072) = nil, want an error")
	}
}

func TestFromPEMBoundsRSAOfIssuers(t *testing.T) {
	f := family(t)
	huge := issue(t, f.root, public{f.root.key}, ca("Huge"))
	_, err := bundle.FromPEM(pems(f.leaf, huge), keyPEM(t, f.leaf.key))
	wantError(t, "FromPEM(issuer of RSA 8193)", err, bundle.ErrKeyKind, "8193 bits")
}

func TestCheckRefusesNames(t *testing.T) {
	f := family(t)
	var many []string
	for i := range bundle.MaxNames + 1 {
		many = append(many, fmt.Sprintf("n%d.test", i))
	}
	long := strings.Repeat(strings.Repeat("a", 49)+".", 5) // 250 characters
	tests := map[string]struct {
		names []string
		text  string // "" if they are fine
	}{
		"1,000":                 {many[:1000], ""},
		"1,001":                 {many, "1001 of them, at most 1000"},
		"253 characters":        {[]string{long + "abc"}, ""},
		"254 characters":        {[]string{long + "abcd"}, "254 characters"},
		"63 characters a label": {[]string{strings.Repeat("a", 63) + ".test"}, ""},
		"64 characters a label": {[]string{strings.Repeat("a", 64) + ".test"}, "64 characters"},
		"none":                  {nil, "no dNSName"},
		"newline":               {[]string{"a.test", "b\n.test"}, `'\n'`},
		"semicolon":             {[]string{"a;.test"}, "';'"},
		"brace":                 {[]string{"a{.test"}, "'{'"},
		"variable":              {[]string{"$host.test"}, "'$'"},
		"NUL":                   {[]string{"a.test\x00.evil.test"}, `'\x00'`},
		"space":                 {[]string{"a .test"}, "' '"},
		"quote":                 {[]string{`a".test`}, `'"'`},
		"slash":                 {[]string{"a/b.test"}, "'/'"},
		"parent folder":         {[]string{"../x"}, "empty label"},
		"dots":                  {[]string{".."}, "empty label"},
		"two dots":              {[]string{"a..b"}, "empty label"},
		"encoded dots":          {[]string{"%2e%2e.test"}, "'%'"},
		"trailing dot":          {[]string{"a.test."}, "empty label"},
		"leading dot":           {[]string{".a.test"}, "empty label"},
		"dash":                  {[]string{"-a.com"}, "'-'"},
		"one label":             {[]string{"localhost"}, "one label"},
		"IPv4 as a name":        {[]string{"10.0.0.1"}, "IP address"},
		"IPv6 as a name":        {[]string{"::1"}, "IP address"},
		"wildcard":              {[]string{"*.a.test"}, ""},
		"wildcards":             {[]string{"*.*.com"}, "'*'"},
		"wildcard within":       {[]string{"a.*.test"}, "'*'"},
		"part of a label":       {[]string{"w*.a.test"}, "'*'"},
		"wildcard of a TLD":     {[]string{"*.test"}, "top-level domain"},
		"everything":            {[]string{"*"}, "'*'"},
		"underscore":            {[]string{"_dmarc.a_b.test"}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			leaf := issue(t, f.lower, p256(t), names(tt.names...))
			got, err := bundle.Check(bundleOf(t, leaf, f.lower, f.upper), policy)
			if tt.text != "" {
				wantError(t, "Check()", err, bundle.ErrNames, tt.text)
				return
			}
			if err != nil || len(got.Names) != len(tt.names) || !slices.IsSorted(got.Names) {
				t.Errorf("Check() = %d names, %v, want %d in order", len(got.Names), err, len(tt.names))
			}
		})
	}
}

// TestCheckRefusesUnreadableNames has a name that Go's parser refuses already.
func TestCheckRefusesUnreadableNames(t *testing.T) {
	f := family(t)
	b := f.bundle(t)
	b.Leaf = edited(t, b.Leaf, "a.test", "\xfc.test")
	_, err := bundle.Check(b, policy)
	wantError(t, "Check(U-label)", err, bundle.ErrFormat, "certificate 1")
}

func TestCheckTimes(t *testing.T) {
	from, to := day.AddDate(0, 0, -30), day.AddDate(0, 0, 60)
	f := family(t)
	early := issue(t, f.upper, f.lower.key, ca("Lower"), valid(from.AddDate(-1, 0, 0), day.AddDate(0, 0, -1)))
	late := issue(t, f.upper, f.lower.key, ca("Lower"), valid(day.AddDate(0, 0, 1), to))
	apart := issue(t, f.upper, f.lower.key, ca("Lower"), valid(from.AddDate(-1, 0, 0), from.AddDate(0, 0, -1)))
	whole := f.bundle(t)
	tests := map[string]struct {
		b       bundle.Bundle
		now     time.Time
		want    error
		text    string
		allowed bool // by AllowExpired
	}{
		"first moment":              {whole, from, nil, "", true},
		"last moment":               {whole, to, nil, "", true},
		"not yet valid":             {whole, from.Add(-time.Second), bundle.ErrNotYetValid, `"a.test" begins at 2026-01-30T12:00:00Z, now is 2026-01-30T11:59:59Z`, false},
		"expired":                   {whole, to.Add(time.Second), bundle.ErrExpired, `"a.test" ended at 2026-04-30T12:00:00Z`, true},
		"expired issuer":            {bundleOf(t, f.leaf, early), day, bundle.ErrExpired, `"Lower" ended`, true},
		"issuer not yet valid":      {bundleOf(t, f.leaf, late), day, bundle.ErrNotYetValid, `"Lower" begins`, false},
		"validities that never met": {bundleOf(t, f.leaf, apart), day, bundle.ErrExpired, `"Lower" ended`, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := bundle.Check(tt.b, bundle.Policy{Now: tt.now})
			if tt.want == nil && err != nil {
				t.Fatalf("Check() = %v, want nil", err)
			} else if tt.want != nil {
				wantError(t, "Check()", err, tt.want, tt.text)
			}
			_, err = bundle.Check(tt.b, bundle.Policy{Now: tt.now, AllowExpired: true})
			if (err == nil) != tt.allowed {
				t.Errorf("Check(AllowExpired) = %v, want allowed: %t", err, tt.allowed)
			}
		})
	}
}

func TestCheckRefusesChains(t *testing.T) {
	f, other := family(t), family(t)
	bad := f.bundle(t)
	bad.Chain = [][]byte{f.lower.cert.Raw, []byte("x")}
	short := issue(t, f.root, p256(t), ca("Short"), func(c *x509.Certificate) { c.MaxPathLenZero = true })
	below := issue(t, short, p256(t), ca("Below"))
	tooLong := bundleOf(t, issue(t, below, p256(t), names("a.test")), below, short)
	bound := issue(t, f.root, p256(t), ca("Bound"), func(c *x509.Certificate) {
		c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = []string{"other.test"}, true
	})
	young := issue(t, f.root, bound.key, ca("Bound"), valid(day.AddDate(0, 0, -1), day.AddDate(0, 0, 1)), func(c *x509.Certificate) {
		c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = []string{"other.test"}, true
	})
	// Go does not look at signatures where validities do not meet.
	past := family(t, valid(day.AddDate(0, 0, -60), day.AddDate(0, 0, -30)))
	late := issue(t, f.root, p256(t), ca("Lower"), valid(day.AddDate(0, 0, -10), day.AddDate(0, 0, 60)))
	signer := issue(t, f.root, p256(t), names("ca.test"), func(c *x509.Certificate) { c.Subject.CommonName = "NoCA" })
	ownRoot := issue(t, nil, p256(t), names("a.test"))
	strict, noChain, self := policy, bundle.Policy{Now: day, AllowNoChain: true}, bundle.Policy{Now: day, AllowSelfSigned: true}
	tests := map[string]struct {
		b    bundle.Bundle
		p    bundle.Policy
		want error
		text string
	}{
		"no chain":              {bundleOf(t, f.leaf), strict, bundle.ErrChain, `add the certificate of the issuer "Lower"`},
		"no chain, self-signed": {bundleOf(t, f.leaf), self, bundle.ErrChain, "it is empty"},
		"self-signed":           {bundleOf(t, ownRoot), strict, bundle.ErrSelfSigned, "no client trusts it"},
		"self-signed, no chain": {bundleOf(t, ownRoot), noChain, bundle.ErrSelfSigned, ""},
		"reversed":              {bundleOf(t, f.leaf, f.upper, f.lower), strict, bundle.ErrChain, `"a.test" was issued by "Lower", not by "Upper"`},
		"gap":                   {bundleOf(t, f.leaf, f.upper), strict, bundle.ErrChain, `not by "Upper"`},
		"of another CA":         {bundleOf(t, f.leaf, other.lower), strict, bundle.ErrChain, "signature does not hold"},
		"the same, later":       {bundleOf(t, past.leaf, late), bundle.Policy{Now: day, AllowExpired: true}, bundle.ErrChain, "signature does not hold"},
		"extra root":            {bundleOf(t, f.leaf, f.lower, f.upper, f.root), strict, bundle.ErrChain, `it has the root "Root"`},
		"leaf in it":            {bundleOf(t, f.leaf, f.leaf, f.lower), strict, bundle.ErrChain, "twice"},
		"issuer twice":          {bundleOf(t, f.leaf, f.lower, f.lower), strict, bundle.ErrChain, `"Lower" is in it twice`},
		"garbage":               {bad, strict, bundle.ErrFormat, "certificate 3"},
		"11 issuers":            {bundleOf(t, f.leaf, slices.Repeat([]*issued{f.lower}, 11)...), strict, bundle.ErrChain, "11 issuers, at most 10"},
		"path too long":         {tooLong, strict, bundle.ErrChain, "too many intermediates"},
		"name constraint":       {bundleOf(t, issue(t, bound, p256(t), names("a.test")), bound), strict, bundle.ErrChain, "not permitted"},
		"the same, younger":     {bundleOf(t, issue(t, young, p256(t), names("a.test")), young), strict, bundle.ErrChain, "not permitted"},
		"issuer is no CA":       {bundleOf(t, issue(t, signer, p256(t), names("a.test")), signer), strict, bundle.ErrChain, "cannot sign"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := bundle.Check(tt.b, tt.p)
			wantError(t, "Check()", err, tt.want, tt.text)
		})
	}
	if _, err := bundle.Check(bundleOf(t, f.leaf), noChain); err != nil {
		t.Errorf("Check(no chain, allowed) = %v, want nil", err)
	}
}

func TestCheckRefusesOtherUses(t *testing.T) {
	f := family(t)
	poison := pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 3}, Critical: true, Value: []byte{5, 0}}
	tests := map[string]struct {
		edit edit
		text string // "" if it is fine
	}{
		"server":             {func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, ""},
		"any":                {func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }, ""},
		"no key usage":       {func(c *x509.Certificate) { c.KeyUsage = 0 }, ""},
		"client only":        {func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, "not for TLS servers"},
		"unknown usage only": {func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}} }, "not for TLS servers"},
		"encipherment only":  {func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }, "must not sign handshakes"},
		"CA":                 {ca("Sub"), `"Sub" is a CA`},
		"precertificate":     {func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{poison} }, "critical extension 1.3.6.1.4.1.11129.2.4.3"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			leaf := issue(t, f.lower, p256(t), names("a.test"), tt.edit)
			_, err := bundle.Check(bundleOf(t, leaf, f.lower, f.upper), policy)
			if tt.text == "" && err != nil {
				t.Fatalf("Check() = %v, want nil", err)
			} else if tt.text != "" {
				wantError(t, "Check()", err, bundle.ErrLeaf, tt.text)
			}
		})
	}
}

// padded makes a certificate large.
func padded(n int) edit {
	return func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: make([]byte, n)}}
	}
}

func TestCheckRefusesWhatKVCannotHold(t *testing.T) {
	f := family(t, padded(256<<10))
	_, err := bundle.Check(f.bundle(t), policy)
	wantError(t, "Check(leaf of 256 KiB)", err, bundle.ErrSize, "at most 262144")
	if _, err := bundle.Encode(f.bundle(t)); err == nil {
		t.Error("Encode(leaf of 256 KiB) = nil, want an error")
	}
	upper := issue(t, f.root, p256(t), ca("Upper"), padded(64<<10))
	_, err = bundle.Check(bundleOf(t, issue(t, upper, p256(t), names("a.test")), upper), policy)
	wantError(t, "Check(issuer of 64 KiB)", err, bundle.ErrSize, "at most 65536")
}

// TestLongestNamesFit has MaxNames names of 253 bytes and the largest key.
func TestLongestNamesFit(t *testing.T) {
	f := family(t)
	tail := strings.Repeat(strings.Repeat("a", 49)+".", 5)[4:249] + ".abc"
	var ns []string
	for i := range bundle.MaxNames {
		ns = append(ns, fmt.Sprintf("n%03d%s", i, tail))
	}
	leaf := issue(t, f.lower, p256(t), names(ns...))
	b := bundleOf(t, leaf, f.lower, f.upper)
	if info, err := bundle.Check(b, policy); err != nil || len(info.Names) != bundle.MaxNames || len(info.Names[0]) != 253 {
		t.Fatalf("Check() = %d names, %v, want %d of 253", len(info.Names), err, bundle.MaxNames)
	}
	record, err := bundle.Encode(b)
	if err != nil || len(record)+(5<<10) > bundle.MaxRecord {
		t.Errorf("Encode() = %d bytes, %v, want 5 KiB less than %d, for a key of RSA 8192", len(record), err, bundle.MaxRecord)
	}
}

// TestCheckIssuedLooksAtAllButTheSignature has what a node is handed out by those
// who have looked at it.
func TestCheckIssuedLooksAtAllButTheSignature(t *testing.T) {
	f, other := family(t), family(t)
	mixed := f.bundle(t)
	mixed.Key = other.bundle(t).Key
	tests := map[string]struct {
		b    bundle.Bundle
		want error
	}{
		"whole":           {f.bundle(t), nil},
		"of another CA":   {bundleOf(t, f.leaf, other.lower, other.upper), nil},
		"gap":             {bundleOf(t, f.leaf, f.upper), bundle.ErrChain},
		"gap above":       {bundleOf(t, issue(t, f.upper, p256(t), names("a.test")), f.upper, f.lower), bundle.ErrChain},
		"extra root":      {bundleOf(t, f.leaf, f.lower, f.upper, f.root), bundle.ErrChain},
		"leaf in it":      {bundleOf(t, f.leaf, f.leaf, f.lower), bundle.ErrChain},
		"another's key":   {mixed, bundle.ErrKeyMismatch},
		"expired":         {bundleOf(t, issue(t, f.lower, p256(t), names("a.test"), valid(day.AddDate(0, 0, -9), day.AddDate(0, 0, -1))), f.lower), bundle.ErrExpired},
		"no name":         {bundleOf(t, issue(t, f.lower, p256(t)), f.lower), bundle.ErrNames},
		"not for servers": {bundleOf(t, issue(t, f.lower, p256(t), ca("Sub")), f.lower), bundle.ErrLeaf},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := bundle.Check(tt.b, bundle.Policy{Now: day, Issued: true})
			if !errors.Is(err, tt.want) {
				t.Errorf("Check(Issued) = %v, want %v", err, tt.want)
			}
		})
	}
}

// TestCheckerKeepsChainsApart checks bundles of several chains one after the
// other, with parts in common.
func TestCheckerKeepsChainsApart(t *testing.T) {
	var c bundle.Checker
	f, other := family(t), family(t)
	good := f.bundle(t)
	long := good
	long.Chain = [][]byte{good.Chain[0], []byte("x")}
	short := long
	short.Chain = long.Chain[:1] // of the same array
	mixed := other.bundle(t)
	mixed.Chain = good.Chain
	tests := []struct {
		b    bundle.Bundle
		want error
	}{{good, nil}, {short, nil}, {long, bundle.ErrFormat}, {other.bundle(t), nil}, {mixed, bundle.ErrChain}, {good, nil}, {bundleOf(t, f.leaf, f.upper), bundle.ErrChain}}
	for i, tt := range tests {
		if _, err := c.Check(tt.b, policy); !errors.Is(err, tt.want) {
			t.Errorf("Check() of bundle %d = %v, want %v", i, err, tt.want)
		}
	}
	for range 100 {
		if _, err := c.Check(family(t).bundle(t), policy); err != nil {
			t.Fatalf("Check() = %v, want nil", err)
		}
	}
}

// TestCheckRefusesEveryOtherFormOfTheKey changes each byte of it.
func TestCheckRefusesEveryOtherFormOfTheKey(t *testing.T) {
	for name, key := range map[string]crypto.Signer{"P-256": p256(t), "P-384": ec(t, elliptic.P384())} {
		f := family(t)
		b := bundleOf(t, issue(t, f.lower, key, names("a.test")), f.lower)
		if _, err := bundle.Check(b, policy); err != nil {
			t.Fatalf("Check(%s) = %v, want nil", name, err)
		}
		der := b.Key.Reveal()
		for i := range der {
			other := bytes.Clone(der)
			other[i] ^= 1
			b.Key = fleet.NewSecret(other)
			if _, err := bundle.Check(b, policy); !errors.Is(err, bundle.ErrBundle) {
				t.Errorf("Check(%s, byte %d of the key changed) = %v, want %v", name, i, err, bundle.ErrBundle)
			}
		}
	}
}
