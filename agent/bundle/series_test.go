package bundle_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// TestSeriesIsLikeItsParts mixes chains, one of which is the beginning of another.
func TestSeriesIsLikeItsParts(t *testing.T) {
	whole, other := small(), family(t).bundle(t)
	part, none, key := small(), small(), small()
	part.Chain, none.Chain = whole.Chain[:1], nil
	key.Chain, key.Key = whole.Chain, fleet.NewSecret([]byte("another key"))
	var s bundle.Series
	for range 2 {
		for i, b := range []bundle.Bundle{whole, other, part, none, key, whole} {
			record := encoded(t, b)
			if got := s.Hash(b); got != bundle.Hash(b) || bundle.RecordHash(record) != got {
				t.Errorf("bundle %d: Hash() = %s, RecordHash() = %s, want %s", i, got, bundle.RecordHash(record), bundle.Hash(b))
			}
			if got, want := s.AppendFullchainPEM([]byte("x"), b), append([]byte("x"), bundle.FullchainPEM(b)...); !bytes.Equal(got, want) {
				t.Errorf("bundle %d: AppendFullchainPEM() = %q, want %q", i, got, want)
			}
			if got, want := bundle.AppendKeyPEM([]byte("x"), b), append([]byte("x"), bundle.KeyPEM(b).Reveal()...); !bytes.Equal(got, want) {
				t.Errorf("bundle %d: AppendKeyPEM() has %d bytes, want those of KeyPEM() behind an x", i, len(got))
			}
			if got, err := s.Decode(record, b.Chain); err != nil || !same(got, b) {
				t.Errorf("bundle %d: Decode() = %q, %v, want it", i, got.Leaf, err)
			}
			for j, of := range []bundle.Bundle{whole, other, part, none} {
				if bundle.ChainHash(of.Chain) == bundle.ChainHash(b.Chain) {
					continue
				}
				if _, err := s.Decode(record, of.Chain); !errors.Is(err, bundle.ErrRecord) {
					t.Errorf("bundle %d: Decode() with chain %d = %v, want ErrRecord", i, j, err)
				}
			}
		}
	}
}

// TestSeriesForgetsChains has more chains than are remembered.
func TestSeriesForgetsChains(t *testing.T) {
	var s bundle.Series
	b := small()
	for i := range byte(100) {
		b.Chain = [][]byte{{i}}
		if got := s.Hash(b); got != bundle.Hash(b) {
			t.Fatalf("Hash() with chain %d = %s, want %s", i, got, bundle.Hash(b))
		}
	}
}

func TestRecordHashOfNothing(t *testing.T) {
	if got := bundle.RecordHash(nil); got == bundle.Hash(small()) || got.IsZero() {
		t.Errorf("RecordHash(nil) = %s, want that of no bundle", got)
	}
}
