package bundle

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
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
func Hash(b Bundle) fleet.Hash { return hashWith(b, ChainHash(b.Chain)) }

// hashWith is Hash of a bundle whose chain has this hash.
func hashWith(b Bundle, chain fleet.Hash) fleet.Hash {
	key := b.Key.Reveal()
	defer clear(key)
	h := hasher{sha256.New()}
	h.write([]byte(bundleDomain))
	h.write(chain[:])
	h.field(b.Leaf)
	h.field(key)
	return h.sum()
}

// RecordHash is the Hash of the bundle that Encode made this record of.
func RecordHash(record []byte) fleet.Hash {
	h := hasher{sha256.New()}
	h.write([]byte(bundleDomain))
	h.write(record[min(1, len(record)):]) // without the schema
	return h.sum()
}

// ChainHash identifies a chain. That of an empty chain is the zero hash: there
// is no record of it.
func ChainHash(chain [][]byte) fleet.Hash {
	if len(chain) == 0 {
		return fleet.Hash{}
	}
	h := hasher{sha256.New()}
	h.write([]byte(chainDomain))
	for _, der := range chain {
		h.field(der)
	}
	return h.sum()
}

// hasher hashes what appendBody and appendChain write, without a copy of it.
type hasher struct{ hash.Hash }

func (h hasher) write(b []byte) {
	_, _ = h.Write(b) //nolint:errcheck // hash.Hash: it never returns an error
}

func (h hasher) field(b []byte) {
	var size [fieldHead]byte
	binary.BigEndian.PutUint32(size[:], uint32(len(b))) //nolint:gosec // bounded by maxInput
	h.write(size[:])
	h.write(b)
}

func (h hasher) sum() (sum fleet.Hash) {
	h.Sum(sum[:0])
	return sum
}

// appendBody writes what identifies a bundle.
func appendBody(dst []byte, b Bundle) []byte {
	dst = slices.Grow(dst, len(fleet.Hash{})+2*fieldHead+len(b.Leaf)+b.Key.Len())
	chain := ChainHash(b.Chain)
	dst = append(dst, chain[:]...)
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
