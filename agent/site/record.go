package site

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Why bytes are refused.
var (
	// ErrRecord: not what Encode or EncodeHead writes.
	ErrRecord = errors.New("not a record of sites")
	// ErrSchema: written in a schema that this version does not know.
	ErrSchema = errors.New("record of sites in an unknown schema")
)

// MaxRecord bounds the record of one site in bytes.
const MaxRecord = 64 << 10

const schema = 1

// MaxEpoch is the highest epoch in a record.
const MaxEpoch = 1<<53 - 1

type record struct {
	Schema int    `json:"schema"`
	Epoch  uint64 `json:"epoch"`
	ID     string `json:"id"`
	Site   Site   `json:"site"`
}

// Encode writes a site of an epoch, the same always as the same bytes. Errors
// wrap ErrSite or ErrRecord.
func Encode(s Site, epoch uint64) ([]byte, error) {
	if err := Validate(s); err != nil {
		return nil, fmt.Errorf("encode site: %w", err)
	}
	if epoch == 0 || epoch > MaxEpoch {
		return nil, fmt.Errorf("encode site %s: %w: epoch %d", s.ID, ErrRecord, epoch)
	}
	b, err := json.Marshal(record{schema, epoch, s.ID, s})
	if err != nil {
		return nil, fmt.Errorf("encode site %s: %w", s.ID, err)
	}
	if len(b) > MaxRecord {
		return nil, fmt.Errorf("encode site %s: %w: %d bytes, at most %d: split the site, or make its addresses a service in Consul", s.ID, ErrSite, len(b), MaxRecord)
	}
	return b, nil
}

// Decode reads what Encode wrote and nothing else. Errors wrap ErrSchema for a
// schema of a newer version, else ErrRecord.
func Decode(b []byte) (Site, uint64, error) {
	if len(b) > MaxRecord {
		return Site{}, 0, fmt.Errorf("decode site: %w: %d bytes, at most %d", ErrRecord, len(b), MaxRecord)
	}
	var r record
	if err := decodeStrict(b, &r, &r.Schema); err != nil {
		return Site{}, 0, fmt.Errorf("decode site: %w", err)
	}
	s := r.Site
	s.ID = r.ID
	again, err := Encode(s, r.Epoch)
	if err != nil {
		return Site{}, 0, fmt.Errorf("decode site: %w: %w", ErrRecord, err)
	}
	if !bytes.Equal(again, b) {
		return Site{}, 0, fmt.Errorf("decode site %s: %w: not in canonical form", s.ID, ErrRecord)
	}
	return s, r.Epoch, nil
}

// decodeStrict reads JSON into v. The schema is looked at first: what a newer
// version writes may not be read at all.
func decodeStrict(b []byte, v any, got *int) error {
	var frame struct {
		Schema int `json:"schema"`
	}
	if err := json.Unmarshal(b, &frame); err != nil {
		return fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if frame.Schema > schema {
		return fmt.Errorf("%w: schema %d, this tlsfleet reads %d: upgrade it", ErrSchema, frame.Schema, schema)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if *got != schema {
		return fmt.Errorf("%w: it names no schema", ErrRecord)
	}
	return nil
}

// FileJSON is sites as a file in JSON, which Parse reads.
func FileJSON(sites []Site) ([]byte, error) {
	file := struct {
		Site map[string]Site `json:"site"`
	}{map[string]Site{}}
	for _, s := range sites {
		file.Site[s.ID] = s
	}
	return json.MarshalIndent(file, "", "  ")
}

// HashOf is the SHA-256 of a record as Encode writes it.
func HashOf(record []byte) fleet.Hash { return sha256.Sum256(record) }
