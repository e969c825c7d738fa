package agent_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/importer"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// console is a new fleet in the tests' Consul.
type console struct {
	*agent.Console
	fleet string
}

func consoleOf(t *testing.T) console {
	t.Helper()
	keyring := filepath.Join(t.TempDir(), "keyring")
	if _, err := seal.Create(keyring); err != nil {
		t.Fatal(err)
	}
	cfg := config.Config{Fleet: testkit.FleetName(t), KeyringFile: keyring, Consul: config.Consul{Address: testkit.SharedConsul(t).Addr}}
	con, err := agent.OpenConsole(cfg, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	return console{con, cfg.Fleet}
}

// spoil puts something else in the place of a record.
func (c console) spoil(t *testing.T, path string) {
	t.Helper()
	url := "http://" + testkit.SharedConsul(t).Addr + "/v1/kv/tlsfleet/" + c.fleet + "/" + path
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, strings.NewReader("spoiled"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("put %s: %v, %v", path, resp, err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
}

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func newAuthority(tb testing.TB) *authority {
	tb.Helper()
	root := newKey(tb)
	a := &authority{key: newKey(tb)}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "Test Issuer"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(5, 0, 0),
	}
	parent := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test Root"}}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, a.key.Public(), root)
	if err != nil {
		tb.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		tb.Fatal(err)
	}
	return a
}

// pem is a new certificate that ends in some days, with chain and key.
func (a *authority) pem(tb testing.TB, days int, names ...string) []byte {
	tb.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		tb.Fatal(err)
	}
	key := newKey(tb)
	leaf := &x509.Certificate{
		SerialNumber: serial, DNSNames: names, KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		NotBefore: time.Now().AddDate(0, -6, 0), NotAfter: time.Now().AddDate(0, 0, days),
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, a.cert, key.Public(), a.key)
	if err != nil {
		tb.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})...)
	return append(out, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)
}

func (a *authority) found(tb testing.TB, path string, days int, names ...string) importer.Found {
	tb.Helper()
	b, err := bundle.FromPEM(a.pem(tb, days, names...), nil)
	if err != nil {
		tb.Fatal(err)
	}
	return importer.Found{Bundle: b, Path: path, Key: path}
}

func imported(t *testing.T, con console, o agent.ImportOptions, found ...importer.Found) agent.ImportResult {
	t.Helper()
	r, err := con.Import(t.Context(), found, o, nil)
	if err != nil {
		t.Fatalf("Import() = %v", err)
	}
	return r
}

// names lists the names of the inventory.
func names(t *testing.T, con console, f agent.CertificateFilter) string {
	t.Helper()
	list, err := con.Certificates(t.Context(), f)
	if err != nil {
		t.Fatalf("Certificates() = %v", err)
	}
	var s []string
	for _, c := range list {
		s = append(s, c.Name)
	}
	return strings.Join(s, " ")
}

func TestImportRefusesBadAndTakesTheRest(t *testing.T) {
	con, ca := consoleOf(t), newAuthority(t)
	noChain := ca.found(t, "nochain", 90, "nochain.test")
	noChain.Bundle.Chain = nil
	mixed := ca.found(t, "mixed", 90, "mixed.test")
	mixed.Bundle.Key = noChain.Bundle.Key
	selfCert, selfKey := testkit.SelfSigned(t, "self.test")
	self, err := bundle.FromPEM(selfCert, selfKey)
	if err != nil {
		t.Fatal(err)
	}
	many := make([]string, bundle.MaxNames+1)
	for i := range many {
		many[i] = fmt.Sprintf("n%d.test", i)
	}
	bad := map[string]struct {
		found importer.Found
		err   error
	}{
		"nochain":  {noChain, bundle.ErrChain},
		"mixed":    {mixed, bundle.ErrKeyMismatch},
		"self":     {importer.Found{Bundle: self, Path: "self"}, bundle.ErrSelfSigned},
		"expired":  {ca.found(t, "expired", -1, "expired.test"), bundle.ErrExpired},
		"many":     {ca.found(t, "many", 90, many...), bundle.ErrNames},
		"newline":  {ca.found(t, "newline", 90, "a.test", "b.test;\nc"), bundle.ErrNames},
		"path":     {ca.found(t, "path", 90, "../x"), bundle.ErrNames},
		"dots":     {ca.found(t, "dots", 90, "a..b"), bundle.ErrNames},
		"stars":    {ca.found(t, "stars", 90, "*.*.com"), bundle.ErrNames},
		"variable": {ca.found(t, "variable", 90, "$host"), bundle.ErrNames},
		"address":  {ca.found(t, "address", 90, "192.0.2.1"), bundle.ErrNames},
		"punycode": {ca.found(t, "punycode", 90, "good2.test", "xn--a.test"), bundle.ErrNames},
		"no name":  {ca.found(t, "no name", 90), bundle.ErrNames},
	}
	found := []importer.Found{ca.found(t, "one", 90, "one.test", "WWW.One.test", "*.one.test")}
	for _, b := range bad {
		found = append(found, b.found)
	}
	r := imported(t, con, agent.ImportOptions{}, append(found, ca.found(t, "two", 90, "xn--bcher-kva.test"))...)
	if r.Certificates != 2 || r.Added != 4 || r.Replaced != 0 || r.Epoch == 0 {
		t.Errorf("Import() = %d certificates, %d added, %d replaced, epoch %d, want 2, 4, 0 and an epoch", r.Certificates, r.Added, r.Replaced, r.Epoch)
	}
	if len(r.Refused) != len(bad) {
		t.Errorf("Import() refuses %d, want %d", len(r.Refused), len(bad))
	}
	for _, x := range r.Refused {
		if !errors.Is(x.Err, bad[x.Path].err) || x.Why == "" {
			t.Errorf("Import() refuses %s: %v, want %v", x.Path, x.Err, bad[x.Path].err)
		}
	}
	if got, want := names(t, con, agent.CertificateFilter{}), "*.one.test one.test www.one.test xn--bcher-kva.test"; got != want {
		t.Errorf("Certificates() = %s, want %s", got, want)
	}
	lax := agent.ImportOptions{AllowExpired: true, AllowNoChain: true, AllowSelfSigned: true}
	if r := imported(t, con, lax, bad["expired"].found, bad["nochain"].found, bad["self"].found); r.Added != 3 || len(r.Refused) > 0 {
		t.Errorf("Import() = %d added, refused %v, want 3 and none", r.Added, r.Refused)
	}
}

func TestImportTakesWhatEndsLater(t *testing.T) {
	con, ca := consoleOf(t), newAuthority(t)
	short, long := ca.found(t, "short", 30, "a.test", "b.test"), ca.found(t, "long", 60, "b.test", "c.test")
	r := imported(t, con, agent.ImportOptions{}, long, short)
	if r.Added != 3 || r.Certificates != 2 || len(r.Refused) > 0 {
		t.Errorf("Import() = %+v, want 3 names of 2 certificates", r)
	}
	if len(r.Surpassed) != 1 || r.Surpassed[0].Path != "short" || strings.Join(r.Surpassed[0].Names, " ") != "b.test" || r.Surpassed[0].By[0] != "long" {
		t.Errorf("Import() has surpassed %+v, want short for b.test by long", r.Surpassed)
	}
	if d, err := con.Certificate(t.Context(), "B.test."); err != nil || d.Bundle != bundle.Hash(long.Bundle) {
		t.Errorf("Certificate() of b.test = %v, %v, want the long one", d.Bundle, err)
	}
	if r := imported(t, con, agent.ImportOptions{}, short, long); r.Unchanged != 3 || r.Added+r.Replaced > 0 {
		t.Errorf("Import() again = %+v, want 3 unchanged", r)
	}
	mid := ca.found(t, "mid", 45, "a.test", "b.test", "d.test")
	r = imported(t, con, agent.ImportOptions{}, mid)
	if r.Added != 1 || r.Replaced != 1 || len(r.Refused) != 1 || !errors.Is(r.Refused[0].Err, agent.ErrOlder) || strings.Join(r.Refused[0].Names, " ") != "b.test" {
		t.Errorf("Import() = %+v, want d.test added, a.test replaced, b.test refused", r)
	}
	if len(r.Replacements) != 1 || r.Replacements[0].Before.Name != "a.test" || r.Replacements[0].Before.Bundle != bundle.Hash(short.Bundle) || r.Replacements[0].Path != "mid" {
		t.Errorf("Import() replaced %+v, want a.test of short by mid", r.Replacements)
	}
	if r := imported(t, con, agent.ImportOptions{Force: true}, mid); r.Replaced != 1 || len(r.Refused) > 0 {
		t.Errorf("Import() by force = %+v, want b.test replaced", r)
	}
}

func TestCertificatesFilter(t *testing.T) {
	con, ca := consoleOf(t), newAuthority(t)
	if _, err := con.Certificates(t.Context(), agent.CertificateFilter{}); !errors.Is(err, agent.ErrNoInventory) {
		t.Errorf("Certificates() of a new fleet = %v, want %v", err, agent.ErrNoInventory)
	}
	imported(t, con, agent.ImportOptions{}, ca.found(t, "a", 10, "a.test", "*.a.test"), ca.found(t, "b", 90, "b.example"))
	tests := map[string]struct {
		filter agent.CertificateFilter
		want   string
	}{
		"all":          {agent.CertificateFilter{}, "*.a.test a.test b.example"},
		"part":         {agent.CertificateFilter{Match: "EXAM"}, "b.example"},
		"pattern":      {agent.CertificateFilter{Match: "?.test"}, "a.test"},
		"under":        {agent.CertificateFilter{Match: "*.a.test"}, "*.a.test"},
		"whole":        {agent.CertificateFilter{Match: "[ab].*"}, "a.test b.example"},
		"nothing":      {agent.CertificateFilter{Match: "c.test"}, ""},
		"soon":         {agent.CertificateFilter{Until: time.Now().AddDate(0, 0, 30)}, "*.a.test a.test"},
		"source":       {agent.CertificateFilter{Source: fleet.SourceImport}, "*.a.test a.test b.example"},
		"other source": {agent.CertificateFilter{Source: fleet.SourceACME}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := names(t, con, tt.filter); got != tt.want {
				t.Errorf("Certificates() = %q, want %q", got, tt.want)
			}
		})
	}
	if _, err := con.Certificates(t.Context(), agent.CertificateFilter{Match: "[a"}); err == nil {
		t.Error("Certificates() of a bad pattern = nil, want an error")
	}
}

func TestCertificateShowsTheServingOne(t *testing.T) {
	con, ca := consoleOf(t), newAuthority(t)
	imported(t, con, agent.ImportOptions{}, ca.found(t, "a", 10, "*.a.test", "a.test"), ca.found(t, "x", 10, "x.a.test"))
	tests := map[string]string{"a.test": "a.test", "www.a.test": "*.a.test", "X.A.test": "x.a.test", "*.a.test": "*.a.test", "a.b.a.test": "", "test.a": "", "*.x.a.test": ""}
	for asked, want := range tests {
		d, err := con.Certificate(t.Context(), asked)
		if want == "" {
			if !errors.Is(err, agent.ErrUnknownCertificate) {
				t.Errorf("Certificate(%s) = %v, want %v", asked, err, agent.ErrUnknownCertificate)
			}
			continue
		}
		if err != nil || d.Name != want || d.Issuer != "Test Issuer" || d.KeyKind != "ECDSA P-256" || len(d.Chain) != 1 || d.Problem != "" {
			t.Errorf("Certificate(%s) = %+v, %v, want that of %s", asked, d, err, want)
		}
	}
	if _, err := con.Certificate(t.Context(), "../a"); !errors.Is(err, fleet.ErrDomain) {
		t.Errorf("Certificate(../a) = %v, want %v", err, fleet.ErrDomain)
	}
	imported(t, con, agent.ImportOptions{AllowExpired: true}, ca.found(t, "old", -3, "old.test"))
	if d, err := con.Certificate(t.Context(), "old.test"); err != nil || !strings.Contains(d.Problem, "expired") {
		t.Errorf("Certificate() of an expired one = %+v, %v, want it with a problem", d, err)
	}
}

func TestExportCertificateWritesAPair(t *testing.T) {
	con, ca := consoleOf(t), newAuthority(t)
	imported(t, con, agent.ImportOptions{}, ca.found(t, "a", 10, "a.test"))
	dir := filepath.Join(t.TempDir(), "out")
	x, err := con.ExportCertificate(t.Context(), "a.test", dir, false)
	if err != nil {
		t.Fatalf("ExportCertificate() = %v", err)
	}
	pair, err := tls.LoadX509KeyPair(x.Fullchain, x.Key)
	if err != nil || len(pair.Certificate) != 2 {
		t.Errorf("the files have %d certificates, %v, want 2", len(pair.Certificate), err)
	}
	for path, want := range map[string]os.FileMode{x.Fullchain: 0o644, x.Key: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, %v, want %v", path, info.Mode(), err, want)
		}
	}
	imported(t, con, agent.ImportOptions{}, ca.found(t, "a", 20, "a.test"))
	for _, gone := range []string{"", x.Fullchain, x.Key} {
		kept, err := os.ReadFile(x.Key)
		if err != nil {
			t.Fatal(err)
		}
		if gone != "" {
			if err := os.Rename(gone, gone+".away"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := con.ExportCertificate(t.Context(), "a.test", dir, false); !errors.Is(err, agent.ErrExists) {
			t.Errorf("ExportCertificate() again without %q = %v, want %v", gone, err, agent.ErrExists)
		}
		if gone != "" {
			if _, err := os.Stat(gone); err == nil {
				t.Errorf("ExportCertificate() made half a pair: %s", gone)
			}
			if err := os.Rename(gone+".away", gone); err != nil {
				t.Fatal(err)
			}
		}
		if now, err := os.ReadFile(x.Key); err != nil || string(now) != string(kept) {
			t.Errorf("ExportCertificate() changed the key, %v", err)
		}
	}
	if _, err := con.ExportCertificate(t.Context(), "a.test", dir, true); err != nil {
		t.Errorf("ExportCertificate() by force = %v", err)
	}
	if _, err := tls.LoadX509KeyPair(x.Fullchain, x.Key); err != nil {
		t.Errorf("the files by force: %v", err)
	}
}

func TestRemoveCertificatesAllOrNone(t *testing.T) {
	con, ca := consoleOf(t), newAuthority(t)
	imported(t, con, agent.ImportOptions{}, ca.found(t, "a", 10, "a.test", "b.test", "*.c.test"))
	if _, err := con.RemoveCertificates(t.Context(), []string{"a.test", "x.c.test"}); !errors.Is(err, agent.ErrUnknownCertificate) || !strings.Contains(err.Error(), "x.c.test") {
		t.Errorf("RemoveCertificates() = %v, want %v for x.c.test", err, agent.ErrUnknownCertificate)
	}
	if got, want := names(t, con, agent.CertificateFilter{}), "*.c.test a.test b.test"; got != want {
		t.Errorf("Certificates() = %s, want %s", got, want)
	}
	r, err := con.RemoveCertificates(t.Context(), []string{"A.test", "a.test.", "*.c.test"})
	if err != nil || len(r.Removed) != 2 || r.Epoch == 0 {
		t.Errorf("RemoveCertificates() = %+v, %v, want two removed", r, err)
	}
	if got, want := names(t, con, agent.CertificateFilter{}), "b.test"; got != want {
		t.Errorf("Certificates() = %s, want %s", got, want)
	}
	r, err = con.RemoveCertificates(t.Context(), []string{"a.test"})
	if err != nil || len(r.Removed) != 0 || len(r.Gone) != 1 {
		t.Errorf("RemoveCertificates() again = %+v, %v, want it gone already", r, err)
	}
}

// TestImportManyCertificates is the whole way of 2,000 certificates, from files
// to the list.
func TestImportManyCertificates(t *testing.T) {
	const n = 2000
	con, ca, dir := consoleOf(t), newAuthority(t), t.TempDir()
	for i := range n {
		path := filepath.Join(dir, fmt.Sprintf("%d.pem", i))
		if err := os.WriteFile(path, ca.pem(t, 90, fmt.Sprintf("www%d.example.org", i)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	found, refused, err := importer.Find(t.Context(), []string{dir}, importer.Options{})
	if err != nil || len(found) != n || len(refused) > 0 {
		t.Fatalf("Find() = %d, %d refused, %v, want %d", len(found), len(refused), err, n)
	}
	read := time.Since(start)
	last, calls := 0, 0
	r, err := con.Import(t.Context(), found, agent.ImportOptions{}, func(done, total int) {
		if done <= last || total != n {
			t.Errorf("progress %d of %d after %d", done, total, last)
		}
		last = done
		calls++
	})
	if err != nil || r.Added != n || r.Certificates != n || last != n {
		t.Fatalf("Import() = %d added of %d certificates, progress %d, %v, want %d", r.Added, r.Certificates, last, err, n)
	}
	written := time.Since(start) - read
	list, err := con.Certificates(t.Context(), agent.CertificateFilter{})
	if err != nil || len(list) != n {
		t.Errorf("Certificates() = %d, %v, want %d", len(list), err, n)
	}
	listed := time.Since(start) - read - written
	if r := imported(t, con, agent.ImportOptions{}, found...); r.Unchanged != n {
		t.Errorf("Import() again = %d unchanged, want %d", r.Unchanged, n)
	}
	t.Logf("%d certificates: read %v, imported %v (%d steps), listed %v, imported again %v", n, read, written, calls, listed, time.Since(start)-read-written-listed)
}

func TestImportGoesOnAroundASpoiledShard(t *testing.T) {
	con, ca := consoleOf(t), newAuthority(t)
	imported(t, con, agent.ImportOptions{}, ca.found(t, "a", 10, "a.test"), ca.found(t, "b", 10, "b.test"))
	con.spoil(t, fmt.Sprintf("inventory/shards/%d", inventory.ShardOf("a.test")))
	r, err := con.Import(t.Context(), []importer.Found{ca.found(t, "a2", 20, "a.test"), ca.found(t, "b2", 20, "b.test", "c.test")}, agent.ImportOptions{}, nil)
	if err == nil || r.Replaced != 1 || r.Added != 1 || r.Certificates != 1 || len(r.Replacements) != 1 {
		t.Errorf("Import() = %+v, %v, want b.test and c.test, and an error", r, err)
	}
	if len(r.Refused) != 1 || r.Refused[0].Path != "a2" || !errors.Is(r.Refused[0].Err, agent.ErrNotWritten) {
		t.Errorf("Import() refuses %+v, want a2 as %v", r.Refused, agent.ErrNotWritten)
	}
	list, err := con.Certificates(t.Context(), agent.CertificateFilter{})
	if !errors.Is(err, agent.ErrPartial) || len(list) != 2 {
		t.Errorf("Certificates() = %v, %v, want b.test, c.test and %v", list, err, agent.ErrPartial)
	}
	if _, err := con.Certificate(t.Context(), "a.test"); !errors.Is(err, agent.ErrPartial) {
		t.Errorf("Certificate() = %v, want %v", err, agent.ErrPartial)
	}
	if _, err := con.RemoveCertificates(t.Context(), []string{"a.test", "b.test"}); !errors.Is(err, agent.ErrPartial) {
		t.Errorf("RemoveCertificates() = %v, want %v", err, agent.ErrPartial)
	}
}
