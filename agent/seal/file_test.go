package seal_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/seal"
)

func TestCreateThenLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring")
	made, err := seal.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode of a created keyring = %04o, want 0600", info.Mode().Perm())
	}
	loaded, err := seal.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if !loaded.Marshal().Equal(made.Marshal()) {
		t.Errorf("Load() = %v, want %v", loaded, made)
	}
}

func TestCreateNeverOverwrites(t *testing.T) {
	dir := t.TempDir()
	existing := filepath.Join(dir, "keyring")
	if err := os.WriteFile(existing, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dangling := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), dangling); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{existing, dangling} {
		if _, err := seal.Create(path); !errors.Is(err, fs.ErrExist) {
			t.Errorf("Create(%s) = %v, want fs.ErrExist", filepath.Base(path), err)
		}
	}
	if b, err := os.ReadFile(existing); err != nil || len(b) != 0 {
		t.Errorf("existing file = %d bytes, %v, want it untouched", len(b), err)
	}
}

func TestCreateInMissingFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "keyring")
	if _, err := seal.Create(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Create() in a missing folder = %v, want fs.ErrNotExist", err)
	}
}

func TestLoadRefuses(t *testing.T) {
	good := keyLine(t, 1)
	write := func(text string, mode fs.FileMode) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := map[string]struct {
		make func(*testing.T, string)
		want string
	}{
		"missing":            {func(*testing.T, string) {}, "tlsfleet keyring init"},
		"group can read":     {write(good, 0o640), "mode 0640"},
		"others can read":    {write(good, 0o604), "chmod 600"},
		"group can write":    {write(good, 0o620), "mode 0620"},
		"others can execute": {write(good, 0o601), "mode 0601"},
		"empty":              {write("", 0o600), "no keys"},
		"cut":                {write(good[:30], 0o600), "line 1"},
		"too large":          {write(strings.Repeat("#\n", 40<<10), 0o600), "larger than"},
		"folder": {func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file"},
		"fifo": {func(t *testing.T, path string) {
			if err := syscall.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "keyring")
			tt.make(t, path)
			_, err := seal.Load(path)
			if !errors.Is(err, seal.ErrKeyring) {
				t.Fatalf("Load() = %v, want ErrKeyring", err)
			}
			for _, want := range []string{tt.want, path} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("Load() = %v, want %q in it", err, want)
				}
			}
		})
	}
}

func TestLoadAcceptsReadOnlyAndSymlink(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "keyring"), filepath.Join(dir, "link")
	if _, err := seal.Create(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := seal.Load(link); err != nil {
		t.Errorf("Load() = %v, want the keyring behind the symlink", err)
	}
}
