package issuance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Bounds of an account.
const (
	maxCAs = 32
	maxKey = 8 << 10
	maxURL = 1 << 10
)

// Account is the fleet's one account key for all CAs, and where each CA keeps
// the account (RFC 8555, section 7.3). One key has one thumbprint, so that one
// answer to HTTP-01 challenges serves all of them.
type Account struct {
	Key  fleet.Secret      // PKCS #8, DER
	URLs map[string]string // by the CA's directory URL
}

type accountRecord struct {
	Schema int               `json:"schema"`
	Key    []byte            `json:"key"`
	URLs   map[string]string `json:"urls"`
}

// With is the account registered with one more CA.
func (a Account) With(directory, url string) Account {
	urls := maps.Clone(a.URLs)
	if urls == nil {
		urls = map[string]string{}
	}
	urls[directory] = url
	return Account{a.Key, urls}
}

// EncodeAccount writes an account as JSON, its key in clear: for sealing only.
// Errors wrap ErrItem.
func EncodeAccount(a Account) ([]byte, error) {
	if err := a.check(); err != nil {
		return nil, fmt.Errorf("encode account: %w: %w", ErrItem, err)
	}
	urls := a.URLs
	if urls == nil {
		urls = map[string]string{}
	}
	b, err := json.Marshal(accountRecord{schema, a.Key.Reveal(), urls})
	if err != nil {
		return nil, fmt.Errorf("encode account: %w", err)
	}
	return b, nil
}

// DecodeAccount reads what EncodeAccount wrote and nothing else. Errors wrap
// ErrSchema for a schema of another version, else ErrRecord.
func DecodeAccount(b []byte) (Account, error) {
	var rec accountRecord
	if err := strict(b, &rec); err != nil {
		return Account{}, fmt.Errorf("decode account: %w", err)
	}
	a := Account{fleet.NewSecret(rec.Key), rec.URLs}
	again, err := EncodeAccount(a)
	if err != nil {
		return Account{}, fmt.Errorf("decode account: %w: %w", ErrRecord, err)
	}
	if !bytes.Equal(again, b) {
		return Account{}, fmt.Errorf("decode account: %w: not in canonical form", ErrRecord)
	}
	return a, nil
}

func (a Account) check() error {
	if a.Key.Len() == 0 || a.Key.Len() > maxKey {
		return fmt.Errorf("a key of %d bytes, want 1 to %d", a.Key.Len(), maxKey)
	}
	if len(a.URLs) > maxCAs {
		return fmt.Errorf("%d CAs, want at most %d", len(a.URLs), maxCAs)
	}
	for _, directory := range slices.Sorted(maps.Keys(a.URLs)) {
		url := a.URLs[directory]
		if directory == "" || url == "" || len(directory)+len(url) > maxURL || !printable(directory+url) {
			return fmt.Errorf("account %.200q at %.200q", url, directory)
		}
	}
	return nil
}

// Without is the account without a CA that does not know it any more.
func (a Account) Without(directory string) Account {
	urls := maps.Clone(a.URLs)
	delete(urls, directory)
	return Account{a.Key, urls}
}
