package issuance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Why bytes are refused.
var (
	// ErrRecord: not what was encoded here.
	ErrRecord = errors.New("not an issuance record")
	// ErrSchema: written in a schema that this version does not know.
	ErrSchema = errors.New("issuance record of an unknown schema")
)

const schema = 1

// maxRecord is above the largest record in bytes: 100 of the longest names and
// an order.
const maxRecord = 256 << 10

type record struct {
	Schema  int            `json:"schema"`
	Names   []string       `json:"names"`
	Group   string         `json:"group"`
	Profile string         `json:"profile,omitempty"`
	Added   int64          `json:"added"` // Unix seconds, like every time here
	State   State          `json:"state"`
	Changed int64          `json:"changed"`
	Next    int64          `json:"next,omitempty"`
	Count   int            `json:"failures,omitempty"`
	Last    *failureRecord `json:"failure,omitempty"`
	Parked  string         `json:"parked,omitempty"`
	Order   *orderRecord   `json:"order,omitempty"`
	Cert    *certRecord    `json:"cert,omitempty"`
}

type failureRecord struct {
	Class      Class  `json:"class"`
	Stage      Stage  `json:"stage"`
	CA         string `json:"ca,omitempty"`
	Type       string `json:"type,omitempty"`
	Status     int    `json:"status,omitempty"`
	Detail     string `json:"detail,omitempty"`
	RetryAfter int64  `json:"retry_after,omitempty"` // seconds
	At         int64  `json:"at"`
}

type orderRecord struct {
	CA       string `json:"ca"`
	Key      []byte `json:"key"`
	CSR      []byte `json:"csr"`
	URL      string `json:"url,omitempty"`
	Replaces string `json:"replaces,omitempty"`
	Begun    int64  `json:"begun"`
	Cuts     int    `json:"cuts,omitempty"`
}

type certRecord struct {
	Bundle    fleet.Hash    `json:"bundle"`
	ID        string        `json:"id,omitempty"`
	CA        string        `json:"ca"`
	NotBefore int64         `json:"not_before"`
	NotAfter  int64         `json:"not_after"`
	Window    *windowRecord `json:"window,omitempty"`
}

type windowRecord struct {
	Start  int64 `json:"start"`
	End    int64 `json:"end"`
	Chosen int64 `json:"chosen"`
	Check  int64 `json:"check"`
}

// Encode writes an item as JSON, the same item always as the same bytes. They
// may hold a private key in clear and are for sealing only. Errors wrap ErrItem.
func Encode(it Item) ([]byte, error) {
	if err := Validate(it); err != nil {
		return nil, fmt.Errorf("encode item: %w", err)
	}
	b, err := json.Marshal(toRecord(it))
	if err != nil {
		return nil, fmt.Errorf("encode item: %w", err)
	}
	return b, nil
}

// Decode reads what Encode wrote and nothing else: every byte string it takes
// is the one that Encode makes of the result. Errors wrap ErrSchema for a
// schema of another version, else ErrRecord.
func Decode(b []byte) (Item, error) {
	it, err := decode(b)
	if err != nil {
		return Item{}, fmt.Errorf("decode item: %w", err)
	}
	return it, nil
}

func decode(b []byte) (Item, error) {
	var rec record
	if err := strict(b, &rec); err != nil {
		return Item{}, err
	}
	it := rec.item()
	again, err := Encode(it)
	if err != nil {
		return Item{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if !bytes.Equal(again, b) {
		return Item{}, fmt.Errorf("%w: not in canonical form", ErrRecord)
	}
	return it, nil
}

// strict reads JSON without unknown fields, of this schema.
func strict(b []byte, into any) error {
	if len(b) > maxRecord {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrRecord, len(b), maxRecord)
	}
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
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("%w: %w", ErrRecord, err)
	}
	return nil
}

func toRecord(it Item) record {
	rec := record{
		Schema: schema, Names: it.Names, Group: it.Group, Profile: it.Profile, Added: toUnix(it.Added),
		State: it.State, Changed: toUnix(it.Changed), Next: toUnix(it.Next), Count: it.Failed.Count, Parked: it.Failed.Parked,
	}
	if f := it.Failed.Last; f != nil {
		rec.Last = &failureRecord{f.Class, f.Stage, f.CA, f.Type, f.Status, f.Detail, int64(f.RetryAfter / time.Second), toUnix(f.At)}
	}
	if o := it.Order; o != nil {
		rec.Order = &orderRecord{o.CA, o.Key.Reveal(), o.CSR, o.URL, o.Replaces, toUnix(o.Begun), o.Cuts}
	}
	if c := it.Cert; c != nil {
		rec.Cert = &certRecord{Bundle: c.Bundle, ID: c.ID, CA: c.CA, NotBefore: toUnix(c.NotBefore), NotAfter: toUnix(c.NotAfter)}
		if w := c.Window; w != nil {
			rec.Cert.Window = &windowRecord{toUnix(w.Start), toUnix(w.End), toUnix(w.Chosen), toUnix(w.Check)}
		}
	}
	return rec
}

func (rec record) item() Item {
	it := Item{
		Names: rec.Names, Group: rec.Group, Profile: rec.Profile, Added: fromUnix(rec.Added),
		State: rec.State, Changed: fromUnix(rec.Changed), Next: fromUnix(rec.Next), Failed: Failures{Count: rec.Count, Parked: rec.Parked},
	}
	if f := rec.Last; f != nil {
		it.Failed.Last = &Failure{
			Class: f.Class, Stage: f.Stage, CA: f.CA, Type: f.Type, Status: f.Status, Detail: f.Detail,
			RetryAfter: time.Duration(f.RetryAfter) * time.Second, At: fromUnix(f.At),
		}
	}
	if o := rec.Order; o != nil {
		it.Order = &Order{o.CA, fleet.NewSecret(o.Key), o.CSR, o.URL, o.Replaces, fromUnix(o.Begun), o.Cuts}
	}
	if c := rec.Cert; c != nil {
		it.Cert = &Cert{Bundle: c.Bundle, ID: c.ID, CA: c.CA, NotBefore: fromUnix(c.NotBefore), NotAfter: fromUnix(c.NotAfter)}
		if w := c.Window; w != nil {
			it.Cert.Window = &Window{fromUnix(w.Start), fromUnix(w.End), fromUnix(w.Chosen), fromUnix(w.Check)}
		}
	}
	return it
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
