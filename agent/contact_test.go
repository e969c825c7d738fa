package agent

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestContactIsKeptOverRestarts(t *testing.T) {
	dir := t.TempDir()
	c := openContact(dir, time.Now())
	if err := c.touch(); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(48 * time.Hour)
	again := openContact(dir, later)
	if got := again.last(); later.Sub(got) < 47*time.Hour {
		t.Errorf("last() after a restart = %v before, want 48h", later.Sub(got))
	}
}

func TestContactBeginsNowWhenNothingIsKnown(t *testing.T) {
	now := time.Now()
	tests := map[string]string{
		"never":           "",
		"damaged":         "yesterday",
		"from the future": now.Add(time.Hour).UTC().Format(time.RFC3339),
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if text != "" {
				if err := os.WriteFile(filepath.Join(dir, "contact"), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			c := openContact(dir, now)
			if got := c.last(); !got.Equal(now) {
				t.Errorf("last() = %v, want now (%v)", got, now)
			}
		})
	}
}
