package bundle

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// schema is the first byte of each record. A change that older agents would
// misread raises it.
const schema = 1

// Encode writes a bundle without its chain, which goes into a record of its own
// (EncodeChain), the same bundle always as the same bytes: schema, hash of the
// chain, leaf, key. They hold the key in clear and are for sealing only. The
// error wraps ErrSize, or ErrFormat if there is no leaf or no key.
func Encode(b Bundle) ([]byte, error) {
	if err := checkSize(b); err != nil {
		return nil, fmt.Errorf("encode bundle: %w", err)
	}
	return appendBody([]byte{schema}, b), nil
}

// Decode reads what Encode wrote and nothing else; chain is what DecodeChain
// made of the record named by RecordChain, or empty. It is kept as it is, not
// copied. Errors wrap ErrSchema for a schema of another version, else ErrRecord.
func Decode(record []byte, chain [][]byte) (Bundle, error) {
	return new(Series).Decode(record, chain)
}

// Decode is the function Decode.
func (s *Series) Decode(record []byte, chain [][]byte) (Bundle, error) {
	hash, fields, err := decodeRecord(record)
	if err != nil {
		return Bundle{}, fmt.Errorf("decode bundle: %w", err)
	}
	if len(chain) == 0 {
		chain = nil
	}
	if got := s.chain(chain).hash; got != hash {
		return Bundle{}, fmt.Errorf("decode bundle: %w: it needs the chain %s, got %s", ErrRecord, hash, got)
	}
	b := Bundle{Leaf: bytes.Clone(fields[0]), Key: fleet.NewSecret(fields[1]), Chain: chain}
	if err := checkSize(b); err != nil {
		return Bundle{}, fmt.Errorf("decode bundle: %w: %w", ErrRecord, err)
	}
	return b, nil
}

// RecordChain says which chain a bundle record needs: its hash, or the zero
// hash if it needs none. Errors are those of Decode.
func RecordChain(record []byte) (fleet.Hash, error) {
	hash, _, err := decodeRecord(record)
	if err != nil {
		return fleet.Hash{}, fmt.Errorf("read chain of bundle: %w", err)
	}
	return hash, nil
}

// EncodeChain writes a chain of 1 to MaxChain certificates, the same chain
// always as the same bytes. The error wraps ErrChain or ErrSize.
func EncodeChain(chain [][]byte) ([]byte, error) {
	if len(chain) == 0 {
		return nil, fmt.Errorf("encode chain: %w: it is empty, which needs no record", ErrChain)
	}
	if err := checkChainSize(chain); err != nil {
		return nil, fmt.Errorf("encode chain: %w", err)
	}
	return appendChain([]byte{schema}, chain), nil
}

// DecodeChain reads what EncodeChain wrote and nothing else. Errors wrap
// ErrSchema for a schema of another version, else ErrRecord.
func DecodeChain(record []byte) ([][]byte, error) {
	chain, err := decodeFields(record, 0, MaxChainRecord, MaxChain)
	if err != nil {
		return nil, fmt.Errorf("decode chain: %w", err)
	}
	for i, der := range chain {
		chain[i] = bytes.Clone(der)
	}
	return chain, nil
}

// decodeRecord returns the hash of the chain, and the leaf and the key as parts
// of the record.
func decodeRecord(record []byte) (fleet.Hash, [][]byte, error) {
	var hash fleet.Hash
	fields, err := decodeFields(record, len(hash), MaxRecord, 2)
	if err != nil {
		return fleet.Hash{}, nil, err
	}
	if len(fields) != 2 {
		return fleet.Hash{}, nil, fmt.Errorf("%w: no key in it", ErrRecord)
	}
	copy(hash[:], record[1:])
	return hash, fields, nil
}

// decodeFields reads 1 to most fields up to the end of the record, after the
// schema and head bytes.
func decodeFields(record []byte, head, size, most int) ([][]byte, error) {
	switch {
	case len(record) > size:
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrRecord, len(record), size)
	case len(record) == 0 || record[0] == 0:
		return nil, fmt.Errorf("%w: it names no schema", ErrRecord)
	case record[0] != schema:
		return nil, fmt.Errorf("%w: schema %d, this tlsfleet reads %d: upgrade it", ErrSchema, record[0], schema)
	case len(record) <= 1+head:
		return nil, fmt.Errorf("%w: %d bytes, too few", ErrRecord, len(record))
	}
	var fields [][]byte
	for rest := record[1+head:]; len(rest) > 0; {
		if len(fields) == most {
			return nil, fmt.Errorf("%w: more than %d fields", ErrRecord, most)
		}
		if len(rest) < 4 {
			return nil, fmt.Errorf("%w: it ends within a length", ErrRecord)
		}
		n := uint64(binary.BigEndian.Uint32(rest))
		rest = rest[4:]
		if n == 0 || n > uint64(len(rest)) {
			return nil, fmt.Errorf("%w: field of %d bytes, %d are left", ErrRecord, n, len(rest))
		}
		fields, rest = append(fields, rest[:n]), rest[n:]
	}
	return fields, nil
}
