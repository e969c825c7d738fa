package inventory

import (
	"errors"
	"fmt"
)

// Why the bytes of a shard or a head are refused.
var (
	// ErrRecord: not what EncodeShard or EncodeHead writes.
	ErrRecord = errors.New("not an inventory record")
	// ErrSchema: written in a schema that this version does not know.
	ErrSchema = errors.New("inventory record of an unknown schema")
)

// MaxRecord bounds a record in bytes. Sealed and in base64 it leaves room for
// a head and a bundle in one Consul transaction of 512 KiB.
const MaxRecord = 256 << 10

// The first byte of a record says what it is, the second its schema. A change
// that older agents would misread raises the schema.
const (
	kindShard = 's'
	kindHead  = 'h'
	schema    = 1
)

func newRecord(kind byte) *bitWriter { return &bitWriter{b: []byte{kind, schema}} }

// An epoch in a record is at most MaxEpoch, which both types hold.
func fromEpoch(epoch uint64) int64 { return int64(epoch) } //nolint:gosec // see above
func toEpoch(v int64) uint64       { return uint64(v) }    //nolint:gosec // not negative

// finish is the bytes of a record that is complete.
func (w *bitWriter) finish() ([]byte, error) {
	if len(w.b) > MaxRecord {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrRecord, len(w.b), MaxRecord)
	}
	return w.b, nil
}

// openRecord is a reader of what follows the first two bytes.
func openRecord(b []byte, kind byte) (*bitReader, error) {
	switch {
	case len(b) > MaxRecord:
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrRecord, len(b), MaxRecord)
	case len(b) < 2 || b[0] != kind:
		return nil, fmt.Errorf("%w: it does not begin with %q and a schema", ErrRecord, kind)
	case b[1] == 0:
		return nil, fmt.Errorf("%w: it names no schema", ErrRecord)
	case b[1] != schema:
		return nil, fmt.Errorf("%w: schema %d, this tlsfleet reads %d: upgrade it", ErrSchema, b[1], schema)
	}
	return &bitReader{b: b[2:]}, nil
}
