package bundle

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// What the hashes begin with, so that a bundle never has the hash of a chain.
const (
	bundleDomain = "tlsfleet bundle 1\n"
	chainDomain  = "tlsfleet chain 1\n"
)

// Hash identifies a bundle: SHA-256 over its chain's hash, its leaf and its
// key. It is public; nobody can guess the key from it.
func Hash(b Bundle) fleet.Hash {
	return sha256.Sum256(appendBody([]byte(bundleDomain), b))
}

// ChainHash identifies a chain. That of an empty chain is the zero hash: there
// is no record of it.
func ChainHash(chain [][]byte) fleet.Hash {
	if len(chain) == 0 {
		return fleet.Hash{}
	}
	return sha256.Sum256(appendChain([]byte(chainDomain), chain))
}

// appendBody writes what identifies a bundle.
func appendBody(dst []byte, b Bundle) []byte {
	dst = slices.Grow(dst, len(fleet.Hash{})+2*fieldHead+len(b.Leaf)+b.Key.Len())
	hash := ChainHash(b.Chain)
	dst = append(dst, hash[:]...)
	return appendField(appendField(dst, b.Leaf), b.Key.Reveal())
}

func appendChain(dst []byte, chain [][]byte) []byte {
	size := 0
	for _, der := range chain {
		size += fieldHead + len(der)
	}
	dst = slices.Grow(dst, size)
	for _, der := range chain {
		dst = appendField(dst, der)
	}
	return dst
}

// appendField writes a length in 4 bytes, big-endian, and the bytes.
func appendField(dst, field []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(field))) //nolint:gosec // bounded by maxInput
	return append(dst, field...)
}
