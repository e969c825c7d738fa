package issuance

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// maxUsed bounds a ledger's record. Under the limits of Let's Encrypt some 4,000
// buckets are not full when orders never pause.
const maxUsed = 4200

type usedRecord struct {
	Schema int              `json:"schema"`
	Full   map[string]int64 `json:"full"` // Unix milliseconds
}

// EncodeUsed writes what Ledger.Used returned. Of more buckets than a record
// holds, those that are full again first are left out. Errors wrap ErrItem.
func EncodeUsed(used map[string]time.Time) ([]byte, error) {
	rec := usedRecord{Schema: schema, Full: make(map[string]int64, len(used))}
	for name, t := range lasting(used) {
		rec.Full[name] = t.UnixMilli()
	}
	if err := rec.check(); err != nil {
		return nil, fmt.Errorf("encode ledger: %w: %w", ErrItem, err)
	}
	b, err := json.Marshal(rec)
	if err != nil {
		return nil, fmt.Errorf("encode ledger: %w", err)
	}
	return b, nil
}

// lasting are the maxUsed buckets that take longest to be full again; those of
// the whole account are always among them.
func lasting(used map[string]time.Time) map[string]time.Time {
	if len(used) <= maxUsed {
		return used
	}
	names := slices.SortedFunc(maps.Keys(used), func(a, b string) int {
		return cmp.Or(cmp.Compare(scoped(a), scoped(b)), used[b].Compare(used[a]), strings.Compare(a, b))
	})
	kept := make(map[string]time.Time, maxUsed)
	for _, name := range names[:maxUsed] {
		kept[name] = used[name]
	}
	return kept
}

// scoped is 1 for a bucket of certain names, 0 for one of the whole account.
func scoped(bucket string) int { return min(strings.Count(bucket, "/"), 1) }

// DecodeUsed reads what EncodeUsed wrote and nothing else. Errors wrap
// ErrSchema for a schema of another version, else ErrRecord.
func DecodeUsed(b []byte) (map[string]time.Time, error) {
	var rec usedRecord
	if err := strict(b, &rec); err != nil {
		return nil, fmt.Errorf("decode ledger: %w", err)
	}
	used := make(map[string]time.Time, len(rec.Full))
	for name, ms := range rec.Full {
		used[name] = time.UnixMilli(ms).UTC()
	}
	again, err := EncodeUsed(used)
	if err != nil {
		return nil, fmt.Errorf("decode ledger: %w: %w", ErrRecord, err)
	}
	if !bytes.Equal(again, b) {
		return nil, fmt.Errorf("decode ledger: %w: not in canonical form", ErrRecord)
	}
	return used, nil
}

func (rec usedRecord) check() error {
	if len(rec.Full) > maxUsed {
		return fmt.Errorf("%d buckets, want at most %d", len(rec.Full), maxUsed)
	}
	for name, ms := range rec.Full {
		if name == "" || len(name) > 300 || !printable(name) || ms <= 0 {
			return fmt.Errorf("bucket %.300q full at %d", name, ms)
		}
	}
	return nil
}
