package bundle_test

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func TestFilesAreWhatServersRead(t *testing.T) {
	f := family(t)
	b := f.bundle(t)
	if got, want := bundle.FullchainPEM(b), pems(f.leaf, f.lower, f.upper); !bytes.Equal(got, want) {
		t.Errorf("FullchainPEM() = %s, want %s", got, want)
	}
	if got, want := bundle.KeyPEM(b).Reveal(), keyPEM(t, f.leaf.key); !bytes.Equal(got, want) {
		t.Error("KeyPEM() differs from the key in PKCS#8")
	}
	pair, err := tls.X509KeyPair(bundle.FullchainPEM(b), bundle.KeyPEM(b).Reveal())
	if err != nil || len(pair.Certificate) != 3 {
		t.Errorf("X509KeyPair() = %d certificates, %v, want 3", len(pair.Certificate), err)
	}
}

func TestFromFilesReadsItsOwnFilesOnly(t *testing.T) {
	b := family(t).bundle(t)
	chain, key := bundle.FullchainPEM(b), bundle.KeyPEM(b).Reveal()
	got, err := bundle.FromFiles(chain, key)
	if err != nil || bundle.Hash(got) != bundle.Hash(b) {
		t.Errorf("FromFiles() = %s, %v, want %s", bundle.Hash(got), err, bundle.Hash(b))
	}
	tests := map[string]struct{ chain, key []byte }{
		"no chain":           {nil, key},
		"no key":             {chain, nil},
		"key in the chain":   {append(bytes.Clone(chain), key...), key},
		"certificate as key": {chain, chain},
		"two keys":           {chain, append(bytes.Clone(key), key...)},
		"text":               {append(bytes.Clone(chain), "x"...), key},
		"cut":                {chain[:len(chain)-2], key},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := bundle.FromFiles(tt.chain, tt.key); !errors.Is(err, bundle.ErrFormat) {
				t.Errorf("FromFiles() = %v, want %v", err, bundle.ErrFormat)
			}
		})
	}
}

// TestFilesHaveThePEMOfTheLibrary has blocks of every length of a last line.
func TestFilesHaveThePEMOfTheLibrary(t *testing.T) {
	for n := 1; n <= 200; n++ {
		der := bytes.Repeat([]byte{byte(n)}, n)
		b := bundle.Bundle{Leaf: der, Chain: [][]byte{der[:n/2+1]}, Key: fleet.NewSecret(der)}
		want := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der[:n/2+1]})...)
		if got := bundle.FullchainPEM(b); !bytes.Equal(got, want) || cap(got) != len(got) {
			t.Fatalf("FullchainPEM() of %d bytes = %s of capacity %d, want %s", n, got, cap(got), want)
		}
		want = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		if got := bundle.KeyPEM(b).Reveal(); !bytes.Equal(got, want) {
			t.Fatalf("KeyPEM() of %d bytes = %s, want %s", n, got, want)
		}
	}
}
