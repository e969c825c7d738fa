package bundle

import (
	"encoding/pem"
	"fmt"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// FullchainPEM is the file of nginx's directive ssl_certificate: the leaf and
// its chain.
func FullchainPEM(b Bundle) []byte {
	out := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.Leaf})
	for _, der := range b.Chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out
}

// KeyPEM is the file of nginx's directive ssl_certificate_key: PKCS#8.
func KeyPEM(b Bundle) fleet.Secret {
	return fleet.NewSecret(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b.Key.Reveal()}))
}

// FromFiles reads what FullchainPEM and KeyPEM made, and nothing else: it
// neither checks nor puts in order. Errors wrap ErrFormat.
func FromFiles(fullchain, key []byte) (Bundle, error) {
	var ders [][]byte
	for rest := fullchain; len(rest) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return Bundle{}, fmt.Errorf("%w: not a file of certificates alone", ErrFormat)
		}
		ders = append(ders, block.Bytes)
	}
	block, rest := pem.Decode(key)
	if len(ders) == 0 || block == nil || block.Type != "PRIVATE KEY" || len(rest) > 0 {
		return Bundle{}, fmt.Errorf("%w: not a file of certificates and one of a key", ErrFormat)
	}
	defer clear(block.Bytes)
	return Bundle{Leaf: ders[0], Chain: ders[1:], Key: fleet.NewSecret(block.Bytes)}, nil
}
