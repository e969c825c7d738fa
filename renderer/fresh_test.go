package renderer

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// TestRememberedIsReadAgainWhenFilesChange reads until it is remembered, and
// then changes one of the files, with the size and the time that it had.
func TestRememberedIsReadAgainWhenFilesChange(t *testing.T) {
	t.Parallel()
	tests := map[string]func(dir string) error{
		"rewritten":     func(dir string) error { return os.WriteFile(filepath.Join(dir, "a.conf"), []byte("b"), 0o600) },
		"replaced":      func(dir string) error { return os.Rename(filepath.Join(dir, "b.conf"), filepath.Join(dir, "a.conf")) },
		"link flipped":  func(dir string) error { return flip(dir, "link", "b.conf") },
		"file is new":   func(dir string) error { return os.WriteFile(filepath.Join(dir, "c.conf"), nil, 0o600) },
		"file has gone": func(dir string) error { return os.Remove(filepath.Join(dir, "a.conf")) },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for _, file := range []string{"a.conf", "b.conf"} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte("a"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := flip(dir, "link", "a.conf"); err != nil {
				t.Fatal(err)
			}
			before, err := os.Stat(filepath.Join(dir, "a.conf"))
			if err != nil {
				t.Fatal(err)
			}
			reads := 0
			var m remembered[int]
			get := func() int {
				got, err := m.get(dir, func() (int, []string, error) {
					reads++
					return reads, []string{dir, filepath.Join(dir, "a.conf"), filepath.Join(dir, "link")}, nil
				})
				if err != nil {
					t.Fatal(err)
				}
				return got
			}
			testkit.Eventually(t, 5*settled, "what was read to be remembered", func() error {
				if first := get(); first == get() {
					return nil
				}
				return errors.New("it is read each time")
			})
			was := get()
			if err := change(dir); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(filepath.Join(dir, "a.conf"), time.Time{}, before.ModTime()); err != nil && name != "file has gone" {
				t.Fatal(err)
			}
			if got := get(); got == was {
				t.Errorf("get() = %d after a change, want it read again", got)
			}
		})
	}
}

// TestOwnFilesAreRememberedAtOnce reads files that have just been written, one
// after the other.
func TestOwnFilesAreRememberedAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, file := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	reads := 0
	m := remembered[string]{own: true}
	for i, want := range []struct {
		file  string
		reads int
	}{{"a", 1}, {"a", 1}, {"b", 2}, {"b", 2}, {"a", 3}, {"b", 4}} {
		path := filepath.Join(dir, want.file)
		got, err := m.get(path, func() (string, []string, error) {
			reads++
			text, err := os.ReadFile(path)
			return string(text), []string{path}, err
		})
		if err != nil || got != want.file || reads != want.reads {
			t.Errorf("%d: get(%s) = %q, %v after %d reads, want it after %d", i, want.file, got, err, reads, want.reads)
		}
	}
}

// TestOwnFileThatOthersReplaceIsReadAgain replaces it while it is read, and after.
func TestOwnFileThatOthersReplaceIsReadAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "own")
	put := func(text string) {
		t.Helper()
		other := filepath.Join(dir, text)
		if err := os.WriteFile(other, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(other, path); err != nil {
			t.Fatal(err)
		}
	}
	put("one")
	m := remembered[string]{own: true}
	check := func(want string, meanwhile func()) {
		t.Helper()
		got, err := m.get(path, func() (string, []string, error) {
			text, err := os.ReadFile(path)
			meanwhile()
			return string(text), []string{path}, err
		})
		if err != nil || got != want {
			t.Errorf("get() = %q, %v, want %q", got, err, want)
		}
	}
	check("one", func() { put("two") })
	check("two", func() {})
	put("six")
	check("six", func() {})
}
