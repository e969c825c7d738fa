package bundle

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"slices"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// FullchainPEM is the file of nginx's directive ssl_certificate: the leaf and
// its chain.
func FullchainPEM(b Bundle) []byte {
	size := pemSize(certificate, len(b.Leaf))
	for _, der := range b.Chain {
		size += pemSize(certificate, len(der))
	}
	return appendChainPEM(appendPEM(make([]byte, 0, size), certificate, b.Leaf), b.Chain)
}

func appendChainPEM(dst []byte, chain [][]byte) []byte {
	for _, der := range chain {
		dst = appendPEM(dst, certificate, der)
	}
	return dst
}

// The kinds of PEM blocks of a bundle.
const (
	certificate = "CERTIFICATE"
	privateKey  = "PRIVATE KEY"
)

// What is in a line of PEM, and around a block besides its kind (RFC 7468,
// section 2), in bytes.
const (
	pemLine   = 48
	pemFrames = len("-----BEGIN -----\n-----END -----\n")
)

func pemSize(kind string, der int) int {
	return pemFrames + 2*len(kind) + base64.StdEncoding.EncodedLen(der) + (der+pemLine-1)/pemLine
}

// appendPEM appends what pem.Encode writes, in a third of the time.
func appendPEM(dst []byte, kind string, der []byte) []byte {
	dst = append(append(append(dst, "-----BEGIN "...), kind...), "-----\n"...)
	for line := range slices.Chunk(der, pemLine) {
		dst = append(base64.StdEncoding.AppendEncode(dst, line), '\n')
	}
	return append(append(append(dst, "-----END "...), kind...), "-----\n"...)
}

// KeyPEM is the file of nginx's directive ssl_certificate_key: PKCS#8.
func KeyPEM(b Bundle) fleet.Secret {
	text := AppendKeyPEM(nil, b)
	defer clear(text)
	return fleet.NewSecret(text)
}

// AppendKeyPEM appends what KeyPEM has, in clear; the caller owns it. It leaves
// no copy behind.
func AppendKeyPEM(dst []byte, b Bundle) []byte {
	dst = slices.Grow(dst, pemSize(privateKey, b.Key.Len()))
	der := b.Key.Reveal()
	defer clear(der)
	return appendPEM(dst, privateKey, der)
}

// FromFiles reads what FullchainPEM and KeyPEM made, and nothing else: it
// neither checks nor puts in order. Errors wrap ErrFormat.
func FromFiles(fullchain, key []byte) (Bundle, error) {
	var ders [][]byte
	for rest := fullchain; len(rest) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != certificate {
			return Bundle{}, fmt.Errorf("%w: not a file of certificates alone", ErrFormat)
		}
		ders = append(ders, block.Bytes)
	}
	block, rest := pem.Decode(key)
	if len(ders) == 0 || block == nil || block.Type != privateKey || len(rest) > 0 {
		return Bundle{}, fmt.Errorf("%w: not a file of certificates and one of a key", ErrFormat)
	}
	defer clear(block.Bytes)
	return Bundle{Leaf: ders[0], Chain: ders[1:], Key: fleet.NewSecret(block.Bytes)}, nil
}
