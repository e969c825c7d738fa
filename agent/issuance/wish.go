package issuance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Verb is what an operator wants done with names.
type Verb string

// The verbs.
const (
	Add    Verb = "add"
	Remove Verb = "remove" // and stop serving the names
	Forget Verb = "forget" // no more renewals; the certificate stays
	Retry  Verb = "retry"
	Renew  Verb = "renew" // now, whatever the CA has suggested

	// Reread asks for no names: account and journal were put back from a copy.
	Reread Verb = "reread"
)

// MaxWishes is how many certificates one request asks for at most; more are
// split. With MaxRequest it keeps a request below what Consul takes.
const (
	MaxWishes  = 2000
	MaxRequest = 256 << 10
)

// Wish is one certificate asked for.
type Wish struct {
	Names   []string `json:"names"`
	Group   string   `json:"group,omitempty"`
	Profile string   `json:"profile,omitempty"`
}

// Request is what the CLI leaves for the leader.
type Request struct {
	At     time.Time
	By     string // host and user, for the log
	Do     Verb
	Wishes []Wish
}

type requestRecord struct {
	Schema int    `json:"schema"`
	At     int64  `json:"at"`
	By     string `json:"by"`
	Do     Verb   `json:"do"`
	Wishes []Wish `json:"wishes"`
}

// EncodeRequest writes a request as JSON. Errors wrap ErrItem or fleet.ErrDomain.
func EncodeRequest(r Request) ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	b, err := json.Marshal(requestRecord{schema, r.At.Unix(), r.By, r.Do, r.Wishes})
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	if len(b) > MaxRequest {
		return nil, fmt.Errorf("encode request: %w: %d bytes, at most %d: ask for fewer names at once", ErrItem, len(b), MaxRequest)
	}
	return b, nil
}

// DecodeRequest reads what EncodeRequest wrote and nothing else. Errors wrap
// ErrSchema for a schema of another version, else ErrRecord.
func DecodeRequest(b []byte) (Request, error) {
	var rec requestRecord
	if err := strict(b, &rec); err != nil {
		return Request{}, fmt.Errorf("decode request: %w", err)
	}
	r := Request{time.Unix(rec.At, 0).UTC(), rec.By, rec.Do, rec.Wishes}
	again, err := EncodeRequest(r)
	if err != nil {
		return Request{}, fmt.Errorf("decode request: %w: %w", ErrRecord, err)
	}
	if !bytes.Equal(again, b) {
		return Request{}, fmt.Errorf("decode request: %w: not in canonical form", ErrRecord)
	}
	return r, nil
}

func (r Request) check() error {
	switch {
	case !slices.Contains([]Verb{Add, Remove, Forget, Retry, Renew, Reread}, r.Do):
		return fmt.Errorf("%w: unknown verb %q", ErrItem, r.Do)
	case r.Do == Reread && r.Wishes != nil:
		return fmt.Errorf("%w: names in a request without any", ErrItem)
	case r.Do != Reread && len(r.Wishes) == 0 || len(r.Wishes) > MaxWishes:
		return fmt.Errorf("%w: %d certificates, want 1 to %d", ErrItem, len(r.Wishes), MaxWishes)
	case len(r.By) > 200 || !printable(r.By):
		return fmt.Errorf("%w: %.200q is no name of who asks", ErrItem, r.By)
	case r.At.Unix() <= 0:
		return fmt.Errorf("%w: a request without a time", ErrItem)
	}
	for _, w := range r.Wishes {
		if !slices.IsSorted(w.Names) {
			return fmt.Errorf("%w: names of a certificate out of order", ErrItem)
		}
		if _, err := New(w.Names, w.Group, w.Profile, r.At); err != nil {
			return err
		}
	}
	return nil
}
