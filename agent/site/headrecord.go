package site

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// MaxHead is above the largest record of a head in bytes.
const MaxHead = 256 << 10

// A head is binary, because every node fetches it for every change: kind,
// schema, epoch, number of entries, and for each the length of the ID, the ID,
// the distance of its epoch from the head's, and its hash. Head.Now follows if
// there is one.
const kindHead = 'S'

// EncodeHead writes a head, the same always as the same bytes.
func EncodeHead(h Head) ([]byte, error) {
	if err := h.check(); err != nil {
		return nil, fmt.Errorf("encode head of sites: %w", err)
	}
	b := []byte{kindHead, schema}
	b = binary.AppendUvarint(b, h.Epoch)
	b = binary.AppendUvarint(b, uint64(len(h.Sites)))
	for _, e := range h.Sites {
		b = append(b, byte(len(e.ID))) //nolint:gosec // CheckID: at most 63
		b = append(b, e.ID...)
		b = binary.AppendUvarint(b, h.Epoch-e.Epoch)
		b = append(b, e.Hash[:]...)
	}
	if h.Now > 0 {
		b = binary.AppendUvarint(b, h.Now)
	}
	if len(b) > MaxHead {
		return nil, fmt.Errorf("encode head of sites: %w: %d bytes, at most %d", ErrHead, len(b), MaxHead)
	}
	return b, nil
}

// DecodeHead reads what EncodeHead wrote and nothing else. Errors wrap
// ErrSchema for a schema of a newer version, else ErrRecord.
func DecodeHead(b []byte) (Head, error) {
	h, err := decodeHead(b)
	if err != nil {
		return Head{}, fmt.Errorf("decode head of sites: %w", err)
	}
	return h, nil
}

func decodeHead(b []byte) (Head, error) {
	switch {
	case len(b) > MaxHead:
		return Head{}, fmt.Errorf("%w: %d bytes, at most %d", ErrRecord, len(b), MaxHead)
	case len(b) < 2 || b[0] != kindHead || b[1] == 0:
		return Head{}, fmt.Errorf("%w: it does not begin with %q and a schema", ErrRecord, kindHead)
	case b[1] > schema:
		return Head{}, fmt.Errorf("%w: schema %d, this tlsfleet reads %d: upgrade it", ErrSchema, b[1], schema)
	}
	r := headReader{rest: b[2:]}
	h := Head{Epoch: r.number()}
	n := r.number()
	if n > MaxSites+MaxTombstones {
		return Head{}, fmt.Errorf("%w: %d entries", ErrRecord, n)
	}
	for range n {
		e := Entry{}
		if size := r.take(1); size != nil {
			e.ID = string(r.take(int(size[0])))
		}
		e.Epoch = h.Epoch - r.number()
		copy(e.Hash[:], r.take(fleet.HashSize))
		h.Sites = append(h.Sites, e)
	}
	if !r.bad && len(r.rest) > 0 {
		h.Now = r.number()
	}
	if r.bad || len(r.rest) > 0 {
		return Head{}, fmt.Errorf("%w: it is cut or damaged", ErrRecord)
	}
	again, err := EncodeHead(h)
	if err != nil {
		return Head{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if !bytes.Equal(again, b) {
		return Head{}, fmt.Errorf("%w: not in canonical form", ErrRecord)
	}
	return h, nil
}

// headReader reads a head from its front.
type headReader struct {
	rest []byte
	bad  bool
}

func (r *headReader) number() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *headReader) take(n int) []byte {
	if n > len(r.rest) {
		r.bad, r.rest = true, nil
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}
