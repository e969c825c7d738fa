package archive

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Page is one page of the journal of issuance: the digests of its items by ID.
type Page map[string]Digest

// Encode writes a page, the same page always as the same bytes; an empty one as
// none.
func (p Page) Encode() []byte {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(p)) {
		d := p[id]
		b.WriteString(id + " " + hex.EncodeToString(d[:]) + "\n")
	}
	return []byte(b.String())
}

// DecodePage reads what Encode wrote. Errors wrap ErrManifest.
func DecodePage(b []byte) (Page, error) {
	p := Page{}
	for line := range strings.Lines(string(b)) {
		id, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		raw, err := hex.DecodeString(text)
		if err != nil || len(raw) != len(Digest{}) || CheckName(id) != nil {
			return nil, fmt.Errorf("read list of items: %w: line %.80q", ErrManifest, line)
		}
		p[id] = Digest(raw)
	}
	return p, nil
}
