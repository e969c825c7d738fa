package renderer

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

func TestReadBundleTakesNothingButTheBundle(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	live := g.put(t, "a.test", "b.test")
	a, b := live["a.test"], live["b.test"]
	got, err := g.ReadBundle(a)
	if err != nil || bundle.Hash(got) != a {
		t.Errorf("ReadBundle() = %s, %v, want %s", bundle.Hash(got), err, a)
	}
	if _, err := g.ReadBundle(fleet.Hash{9}); !errors.Is(err, ErrNoBundle) {
		t.Errorf("ReadBundle() of an unknown hash = %v, want %v", err, ErrNoBundle)
	}
	file := func(hash fleet.Hash, name string) string { return filepath.Join(g.cfg.bundleDir(hash), name) }
	chain, err := os.ReadFile(file(a, fullchainFile))
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(file(b, fullchainFile))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		text []byte
		want error
	}{
		"another's":       {other, ErrSpoiled},
		"twice":           {append(append([]byte(nil), chain...), chain...), ErrSpoiled},
		"text after it":   {append(append([]byte(nil), chain...), "x"...), ErrSpoiled},
		"empty":           {nil, ErrSpoiled},
		"half":            {chain[:len(chain)/2], ErrSpoiled},
		"as it was again": {chain, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(file(a, fullchainFile), tt.text, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := g.ReadBundle(a); !errors.Is(err, tt.want) {
				t.Errorf("ReadBundle() = %v, want %v", err, tt.want)
			}
		})
	}
	if err := os.WriteFile(file(a, fullchainFile), chain, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file(b, privkeyFile), file(a, privkeyFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := g.ReadBundle(a); !errors.Is(err, ErrSpoiled) {
		t.Errorf("ReadBundle() with another's key = %v, want %v", err, ErrSpoiled)
	}
	if _, err := g.ReadBundle(b); !errors.Is(err, ErrNoBundle) {
		t.Errorf("ReadBundle() without a key = %v, want %v", err, ErrNoBundle)
	}
}

func TestBundleSizeIsWhatTheDiskGives(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	hash := g.put(t, "a.test")["a.test"]
	if got, err := g.BundleSize(hash); err != nil || got != 4*diskBlock {
		t.Errorf("BundleSize() = %d, %v, want two files and two folders of a block each", got, err)
	}
	tests := map[string]struct {
		chain, key int
		want       int64
	}{
		"one byte": {1, 1, 4}, "a block": {diskBlock, diskBlock, 4}, "more": {diskBlock + 1, 2*diskBlock + 1, 7},
	}
	for name, tt := range tests {
		if got := DiskSize(tt.chain, tt.key); got != tt.want*diskBlock {
			t.Errorf("%s: DiskSize(%d, %d) = %d, want %d blocks", name, tt.chain, tt.key, got, tt.want)
		}
	}
}
