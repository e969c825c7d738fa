package seal_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/seal"
)

// TestKeyringLife goes through a rotation: at each step what any keyring of the
// step before has sealed opens, and the other way around.
func TestKeyringLife(t *testing.T) {
	t.Parallel()
	first := fixed(t, 1, 1)
	added, err := first.Add(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if added, err = seal.Parse(added.Marshal().Reveal()); err != nil {
		t.Fatalf("Parse() of an added key = %v", err)
	}
	next := added.Next()
	if added.Sealing() != first.Sealing() || next == "" || !added.Has(next) || first.Has(next) {
		t.Errorf("Add() = %s with next %s, want %s to seal still", added, next, first.Sealing())
	}
	if _, err := added.Add(rand.Reader); !errors.Is(err, seal.ErrKeyring) {
		t.Errorf("Add() twice = %v, want %v", err, seal.ErrKeyring)
	}
	promoted, err := added.Promote()
	if err != nil || promoted.Sealing() != next || promoted.Next() != "" || !promoted.Has(first.Sealing()) {
		t.Fatalf("Promote() = %s, %v, want %s to seal", promoted, err, next)
	}
	if _, err := promoted.Promote(); !errors.Is(err, seal.ErrKeyring) {
		t.Errorf("Promote() twice = %v, want %v", err, seal.ErrKeyring)
	}
	retired := promoted.Retire()
	if !slices.Equal(retired.IDs(), []string{next}) {
		t.Errorf("Retire() = %s, want %s alone", retired, next)
	}
	steps := []*seal.Keyring{first, added, promoted, retired}
	for i, k := range steps[1:] {
		for _, pair := range [][2]*seal.Keyring{{steps[i], k}, {k, steps[i]}} {
			sealed, err := pair[0].Seal("f", "p", 7, []byte("x"))
			if err != nil {
				t.Fatal(err)
			}
			wantOpens := pair[0] != first && pair[1] != first || k != retired
			if _, _, err := pair[1].Open("f", "p", sealed); wantOpens && err != nil {
				t.Errorf("step %d: what %s sealed does not open with %s: %v", i+1, pair[0], pair[1], err)
			}
		}
	}
}

func TestReseal(t *testing.T) {
	t.Parallel()
	old := fixed(t, 1, 1)
	both := fixed(t, 1, 2)
	sealed, err := old.Seal("f", "p", 7, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if same, err := both.Reseal("f", "p", sealed); err != nil || !bytes.Equal(same, sealed) {
		t.Errorf("Reseal() under the same key = %x, %v, want the same bytes", same, err)
	}
	added, err := old.Add(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	promoted, err := added.Promote()
	if err != nil {
		t.Fatal(err)
	}
	again, err := promoted.Reseal("f", "p", sealed)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := seal.SealedWith(again); err != nil || id != promoted.Sealing() {
		t.Errorf("SealedWith() = %s, %v, want %s", id, err, promoted.Sealing())
	}
	plain, epoch, err := promoted.Retire().Open("f", "p", again)
	if err != nil || epoch != 7 || string(plain) != "x" {
		t.Errorf("Open() of it = %q at epoch %d, %v, want x at 7", plain, epoch, err)
	}
	if _, err := promoted.Reseal("f", "elsewhere", sealed); !errors.Is(err, seal.ErrForged) {
		t.Errorf("Reseal() for another path = %v, want %v", err, seal.ErrForged)
	}
	if _, err := fixed(t, 9, 1).Reseal("f", "p", sealed); !errors.Is(err, seal.ErrUnknownKey) {
		t.Errorf("Reseal() without the key = %v, want %v", err, seal.ErrUnknownKey)
	}
}

// TestParseRefusesMisplacedNextKey: the one word that says which key is to seal
// next stands on the last line, and never on the only one.
func TestParseRefusesMisplacedNextKey(t *testing.T) {
	t.Parallel()
	next := func(fill byte) string { return strings.Replace(keyLine(t, fill), "-key-", "-next-", 1) }
	for name, text := range map[string]string{
		"alone": next(1), "first": next(1) + keyLine(t, 2), "in the middle": keyLine(t, 1) + next(2) + keyLine(t, 3),
		"two": keyLine(t, 1) + next(2) + next(3),
	} {
		if k, err := seal.Parse([]byte(text)); !errors.Is(err, seal.ErrKeyring) {
			t.Errorf("%s: Parse() = %v, %v, want %v", name, k, err, seal.ErrKeyring)
		}
	}
}

func TestReplace(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyring")
	was, err := seal.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	now, err := was.Add(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := seal.Replace(link, was, now); err != nil {
		t.Fatal(err)
	}
	got, err := seal.Load(path)
	if err != nil || !got.Marshal().Equal(now.Marshal()) {
		t.Errorf("Load() after Replace() = %v, %v, want %v", got, err, now)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v, want it left as it was", info, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v, want mode 0600", info, err)
	}
	if err := seal.Replace(path, was, was); !errors.Is(err, seal.ErrKeyring) {
		t.Errorf("Replace() of what somebody else has changed = %v, want %v", err, seal.ErrKeyring)
	}
}
