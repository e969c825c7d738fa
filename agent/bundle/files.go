package bundle

import (
	"encoding/pem"

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
