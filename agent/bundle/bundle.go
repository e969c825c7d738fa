package bundle

import (
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Limits of a bundle.
const (
	MaxNames = 1000 // names in the certificate
	MaxChain = 10   // certificates between the leaf and the root

	// MaxRecord and MaxChainRecord are in bytes. Both together fit, with the
	// shard and the head they go with, into one Consul transaction: 512 KiB
	// after base64. MaxNames names of 253 bytes fit into MaxRecord.
	MaxRecord      = 256 << 10
	MaxChainRecord = 64 << 10
)

// Bundle is a certificate as nginx serves it. It is not checked by itself: see
// Check. The zero value is no bundle.
type Bundle struct {
	Leaf  []byte       // DER
	Key   fleet.Secret // PKCS#8 DER
	Chain [][]byte     // DER, the issuer of the leaf first, without the root; shared between bundles, never changed
}

// Info is what people and the inventory want to know of a bundle.
type Info struct {
	Names               []string // dNSNames (RFC 5280, section 4.2.1.6) in lower case, sorted, wildcards too
	NotBefore, NotAfter time.Time
	Issuer              string // common name of the issuer, else its organization; printable, at most 64 characters
	Serial              string // lower-case hexadecimal
	KeyKind             string // "ECDSA P-256", "RSA 2048"
	SelfSigned          bool
}
