package bundle_test

import (
	"bytes"
	"crypto/tls"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
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
