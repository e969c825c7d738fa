package importer_test

import (
	"context"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/importer"
)

// TestFindRefuses puts one bad certificate beside a good one, which is found
// all the same.
func TestFindRefuses(t *testing.T) {
	good, a, b := leaf(t, "good.test"), leaf(t, "a.test"), leaf(t, "b.test")
	encrypted := string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}))
	long := strings.Repeat(certPEM(cas().lower), 2)
	for range 100 {
		long += certPEM(leaf(t, "x.test"))
	}
	tests := map[string]struct {
		files map[string]string
		path  string // that is refused
		err   error
	}{
		"key of another":          {map[string]string{"a.crt": full(a), "a.key": keyPEM(t, b)}, "a.crt", bundle.ErrKeyMismatch},
		"key of another, inside":  {map[string]string{"a.pem": full(a) + keyPEM(t, b)}, "a.pem", bundle.ErrKeyMismatch},
		"no key":                  {map[string]string{"a.crt": full(a)}, "a.crt", importer.ErrNoKey},
		"no certificate":          {map[string]string{"a.key": keyPEM(t, a)}, "a.key", importer.ErrNoCertificate},
		"encrypted key":           {map[string]string{"a.crt": full(a), "a.key": encrypted}, "a.crt", bundle.ErrEncryptedKey},
		"empty file":              {map[string]string{"a.crt": "", "a.key": keyPEM(t, a)}, "a.crt", bundle.ErrFormat},
		"no PEM":                  {map[string]string{"a.crt": "hello"}, "a.crt", bundle.ErrFormat},
		"damaged PEM":             {map[string]string{"a.crt": full(a)[:900], "a.key": keyPEM(t, a)}, "a.crt", bundle.ErrFormat},
		"damaged DER":             {map[string]string{"a.der": string(a.cert.Raw[:100]), "a.key": keyPEM(t, a)}, "a.der", bundle.ErrFormat},
		"damaged key":             {map[string]string{"a.crt": full(a), "a.key": keyDER(t, a)[:40]}, "a.crt", bundle.ErrKey},
		"two leaves":              {map[string]string{"a.crt": certPEM(a, b, cas().lower), "a.key": keyPEM(t, a)}, "a.crt", bundle.ErrLeaf},
		"100 certificates":        {map[string]string{"a.crt": full(a) + long, "a.key": keyPEM(t, a)}, "a.crt", bundle.ErrChain},
		"two keys inside":         {map[string]string{"a.pem": full(a) + keyPEM(t, a) + keyPEM(t, b)}, "a.pem", bundle.ErrKey},
		"too large":               {map[string]string{"a.crt": strings.Repeat("x", importer.MaxFile+1), "a.key": keyPEM(t, a)}, "a.crt", bundle.ErrSize},
		"lost link":               {map[string]string{"a.crt": "-> gone", "a.key": keyPEM(t, a)}, "a.crt", syscall.ENOENT},
		"PKCS#12, password":       {map[string]string{"a.p12": pfx(t, a, "secret")}, "a.p12", importer.ErrNoPassword},
		"PKCS#12, damaged":        {map[string]string{"a.p12": pfx(t, a, "")[:500]}, "a.p12", bundle.ErrFormat},
		"nothing in a folder":     {map[string]string{"sub/readme": "x"}, "", nil},
		"only a CA's certificate": {map[string]string{"ca.pem": certPEM(cas().root)}, "", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.files["good.crt"], tt.files["good.key"] = full(good), keyPEM(t, good)
			found, refused := find(t, importer.Options{}, tree(t, tt.files), "")
			if len(found) != 1 || found["good.crt"] != "good.test+ good.key" {
				t.Errorf("Find() = %v, want good.crt alone", found)
			}
			if tt.err == nil {
				if len(refused) > 0 {
					t.Errorf("Find() refuses %v, want nothing", refused)
				}
				return
			}
			if len(refused) != 1 || !errors.Is(refused[tt.path], tt.err) {
				t.Errorf("Find() refuses %v, want %s: %v", refused, tt.path, tt.err)
			}
		})
	}
}

func TestFindRefusesGivenFiles(t *testing.T) {
	a := leaf(t, "a.test")
	dir := tree(t, map[string]string{
		"ca.pem": certPEM(cas().root), "dh.pem": "-----BEGIN DH PARAMETERS-----\nMAA=\n-----END DH PARAMETERS-----\n",
		"k/a.key": keyPEM(t, a), "empty/x.txt": "", "note.txt": "x", "long/" + strings.Repeat("d/", 9) + "a.crt": full(a),
	})
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.pem"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]error{
		"ca.pem": importer.ErrNoKey, "dh.pem": bundle.ErrFormat, "k/a.key": importer.ErrNoCertificate, "empty": importer.ErrNothing,
		"note.txt": bundle.ErrFormat, "gone": syscall.ENOENT, "pipe.pem": nil, "long": importer.ErrTooMany,
	}
	for path, want := range tests {
		t.Run(path, func(t *testing.T) {
			found, refused := find(t, importer.Options{}, dir, path)
			if len(found) > 0 || len(refused) != 1 {
				t.Fatalf("Find() = %v, refused %v, want one refusal", found, refused)
			}
			for at, err := range refused {
				if !strings.HasPrefix(at, path) || want != nil && !errors.Is(err, want) {
					t.Errorf("Find() refuses %s: %v, want %s: %v", at, err, path, want)
				}
			}
		})
	}
}

func TestFindNeverShowsKeys(t *testing.T) {
	a, b := leaf(t, "a.test"), leaf(t, "b.test")
	key := keyPEM(t, b)
	dir := tree(t, map[string]string{"a.crt": full(a), "a.key": key, "b.key": key + "x", "c.pem": full(a) + key[:len(key)-40]})
	found, refused := find(t, importer.Options{}, dir, "")
	if len(found) > 0 || len(refused) != 3 {
		t.Errorf("Find() = %v, %v, want three refusals", found, refused)
	}
	for path, err := range refused {
		if strings.Contains(err.Error(), strings.Split(key, "\n")[1][:16]) {
			t.Errorf("the refusal of %s shows the key: %v", path, err)
		}
	}
}

func TestFindIsBounded(t *testing.T) {
	dir := tree(t, map[string]string{"1": "", "2": "", "3": ""})
	_, _, err := importer.Find(t.Context(), []string{dir}, importer.Options{MaxFiles: 2})
	if !errors.Is(err, importer.ErrTooMany) {
		t.Errorf("Find() = %v, want %v", err, importer.ErrTooMany)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := importer.Find(ctx, []string{dir}, importer.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Find() = %v, want %v", err, context.Canceled)
	}
}

func TestFindRefusesUnreadableFolder(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root reads everything")
	}
	a := leaf(t, "a.test")
	dir := tree(t, map[string]string{"a.pem": full(a) + keyPEM(t, a), "no/b.pem": "x"})
	if err := os.Chmod(filepath.Join(dir, "no"), 0); err != nil {
		t.Fatal(err)
	}
	found, refused := find(t, importer.Options{}, dir, "")
	if len(found) != 1 || !errors.Is(refused["no"], os.ErrPermission) {
		t.Errorf("Find() = %v, %v, want a.pem and a refusal of no", found, refused)
	}
}

func TestFindAsksForPasswords(t *testing.T) {
	a, b, c := leaf(t, "a.test"), leaf(t, "b.test"), leaf(t, "c.test")
	dir := tree(t, map[string]string{"a.p12": pfx(t, a, "one"), "b.pfx": pfx(t, b, "one"), "c.p12": pfx(t, c, "two")})
	asked := 0
	o := importer.Options{Password: func(string) (fleet.Secret, error) {
		asked++
		return fleet.NewSecret([]byte("one")), nil
	}}
	found, refused := find(t, o, dir, "")
	if len(found) != 2 || len(refused) != 1 || !errors.Is(refused["c.p12"], bundle.ErrPassword) {
		t.Errorf("Find() = %v, %v, want a and b, and c refused", found, refused)
	}
	if asked != 2 {
		t.Errorf("asked %d times, want once for all with one password and once for c.p12", asked)
	}
}

func TestFindTellsProgress(t *testing.T) {
	files := map[string]string{}
	for _, n := range []string{"a", "b", "c"} {
		p := leaf(t, n+".test")
		files[n+".pem"] = full(p) + keyPEM(t, p)
	}
	var told []int
	o := importer.Options{Progress: func(done, total int) { told = append(told, 10*done+total) }}
	find(t, o, tree(t, files), "")
	if len(told) != 3 || told[0] != 13 || told[2] != 33 {
		t.Errorf("Progress was told %v, want 13 23 33", told)
	}
}

func TestFindTakesWeakKeysForCheckToRefuse(t *testing.T) {
	w := leafOf(t, rsaKey(t, 1024), "weak.test")
	found, refused := find(t, importer.Options{}, tree(t, map[string]string{"w.pem": full(w) + keyPEM(t, w)}), "")
	if len(found) != 1 || len(refused) > 0 {
		t.Errorf("Find() = %v, %v, want w.pem", found, refused)
	}
}
