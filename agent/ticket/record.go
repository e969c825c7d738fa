package ticket

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Why the bytes of a ring are refused.
var (
	// ErrRecord: not what Encode writes.
	ErrRecord = errors.New("not a ring record")
	// ErrSchema: written in a schema that this version does not know.
	ErrSchema = errors.New("ring record of an unknown schema")
)

// schema is the version of record. A change that older agents would misread
// raises it.
const schema = 1

// maxRecord is above the largest record in bytes: 32 keys, 256 event ids and
// 512 node names, with every character escaped.
const maxRecord = 256 << 10

// record is a ring in JSON, keys included.
type record struct {
	Schema    int         `json:"schema"`
	Epoch     uint64      `json:"epoch"`
	Changed   int64       `json:"changed"` // Unix seconds, like every time here
	Cause     fleet.Cause `json:"cause"`
	By        string      `json:"by,omitempty"`
	Promote   bool        `json:"promote,omitempty"`
	Emergency bool        `json:"emergency,omitempty"`
	Current   keyRecord   `json:"current"`
	Next      keyRecord   `json:"next"`
	Previous  []keyRecord `json:"previous,omitempty"`
	Skipped   []string    `json:"skipped,omitempty"`
	Events    []string    `json:"events,omitempty"`
}

type keyRecord struct {
	Key      []byte       `json:"key"`
	Origin   fleet.Origin `json:"origin"`
	Born     int64        `json:"born"`
	Promoted int64        `json:"promoted,omitempty"`
	Retired  int64        `json:"retired,omitempty"`
}

// Encode writes the ring as JSON, the same ring always as the same bytes. They
// hold the keys in clear and are for sealing only. Errors wrap ErrRing.
func Encode(r fleet.Ring) ([]byte, error) {
	if err := Validate(r); err != nil {
		return nil, fmt.Errorf("encode ring at epoch %d: %w", r.Epoch, err)
	}
	rec := record{
		Schema: schema, Epoch: r.Epoch, Changed: r.Changed.Unix(), Cause: r.Cause, By: r.By,
		Promote: r.Promote, Emergency: r.Emergency,
		Current: toRecord(r.Current), Next: toRecord(r.Next),
		Skipped: r.Skipped, Events: r.Events,
	}
	for _, k := range r.Previous {
		rec.Previous = append(rec.Previous, toRecord(k))
	}
	b, err := json.Marshal(rec)
	if err != nil {
		return nil, fmt.Errorf("encode ring at epoch %d: %w", r.Epoch, err)
	}
	return b, nil
}

// Decode reads what Encode wrote and nothing else: every byte string it takes
// is the one that Encode makes of the result. Errors wrap ErrSchema for a
// schema of another version, else ErrRecord (with ErrRing when the ring itself
// is wrong).
func Decode(b []byte) (fleet.Ring, error) {
	if len(b) > maxRecord {
		return fleet.Ring{}, fmt.Errorf("decode ring: %w: %d bytes, at most %d", ErrRecord, len(b), maxRecord)
	}
	if err := checkSchema(b); err != nil {
		return fleet.Ring{}, fmt.Errorf("decode ring: %w", err)
	}
	var rec record
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&rec); err != nil {
		return fleet.Ring{}, fmt.Errorf("decode ring: %w: %w", ErrRecord, err)
	}
	r := rec.ring()
	again, err := Encode(r)
	if err != nil {
		return fleet.Ring{}, fmt.Errorf("decode ring: %w: %w", ErrRecord, err)
	}
	if !bytes.Equal(again, b) {
		return fleet.Ring{}, fmt.Errorf("decode ring: %w: not in canonical form", ErrRecord)
	}
	return r, nil
}

// checkSchema comes before the strict reading: what a later schema adds is
// unknown here.
func checkSchema(b []byte) error {
	var head struct {
		Schema int `json:"schema"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return fmt.Errorf("%w: %w", ErrRecord, err)
	}
	switch {
	case head.Schema < 1:
		return fmt.Errorf("%w: it names no schema", ErrRecord)
	case head.Schema != schema:
		return fmt.Errorf("%w: schema %d, this tlsfleet reads %d: upgrade it", ErrSchema, head.Schema, schema)
	}
	return nil
}

func (rec record) ring() fleet.Ring {
	r := fleet.Ring{
		Epoch: rec.Epoch, Changed: fromUnix(rec.Changed), Cause: rec.Cause, By: rec.By,
		Promote: rec.Promote, Emergency: rec.Emergency,
		Current: rec.Current.key(), Next: rec.Next.key(),
		Skipped: clip(rec.Skipped), Events: clip(rec.Events),
	}
	for _, k := range rec.Previous {
		r.Previous = append(r.Previous, k.key())
	}
	return r
}

func toRecord(k fleet.TicketKey) keyRecord {
	return keyRecord{
		Key: k.Raw.Reveal(), Origin: k.Origin,
		Born: toUnix(k.Born), Promoted: toUnix(k.Promoted), Retired: toUnix(k.Retired),
	}
}

func (k keyRecord) key() fleet.TicketKey {
	return fleet.TicketKey{
		Raw: fleet.NewSecret(k.Key), Origin: k.Origin,
		Born: fromUnix(k.Born), Promoted: fromUnix(k.Promoted), Retired: fromUnix(k.Retired),
	}
}

// toUnix is 0 for the zero time, which Validate keeps apart from real times.
func toUnix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func fromUnix(s int64) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(s, 0).UTC()
}
