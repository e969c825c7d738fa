package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

// ManifestName is the object that says what a copy consists of. It is written
// last: what it names is there.
const ManifestName = "manifest"

// Pages is how many pages the journal of issuance has: one for each first byte
// of an item's ID.
const Pages = 256

// schema is the version of the manifest.
const schema = 1

// Why a manifest is refused.
var (
	// ErrManifest: not a manifest this version reads, or a damaged one.
	ErrManifest = errors.New("not a usable manifest")
	// ErrForeign: of another fleet.
	ErrForeign = errors.New("it belongs to another fleet")
)

// Digest is the first half of the SHA-256 of an object. The zero value is none.
type Digest [16]byte

// DigestOf is the digest of an object.
func DigestOf(data []byte) Digest {
	sum := sha256.Sum256(data)
	return Digest(sum[:16])
}

// Name is the name of the object with this digest that was sealed for a path in
// Consul, below that of the fleet.
func (d Digest) Name(path string) string { return path + "." + hex.EncodeToString(d[:]) }

// Manifest is what one copy of a fleet consists of. Bundles and chains are named
// by what is in the shards.
type Manifest struct {
	Fleet   string
	At      time.Time
	Epoch   uint64                   // of the inventory; 0: it has none
	Names   int                      // in the inventory
	Items   int                      // in the journal of issuance
	Records map[string]Digest        // of single records, by path
	Shards  [inventory.Shards]Digest // zero: never written
	Pages   [Pages]Digest            // of the lists of items (Page); zero: none
	Lost    []fleet.Hash             // bundles that were not in Consul although names are to be served with them
	Key     string                   // id of the key that all of it is sealed with; empty: not known
	Leaders string                   // the same for what leaders alone can read; empty: not known, or they have no keyring
}

type manifestRecord struct {
	Schema  int               `json:"schema"`
	Fleet   string            `json:"fleet"`
	At      int64             `json:"at"`
	Epoch   uint64            `json:"epoch"`
	Names   int               `json:"names"`
	Items   int               `json:"items"`
	Records map[string]string `json:"records"`
	Shards  []byte            `json:"shards"`
	Pages   []byte            `json:"pages"`
	Lost    []fleet.Hash      `json:"lost,omitempty"`
	Key     string            `json:"key,omitempty"`
	Leaders string            `json:"leaders,omitempty"`
}

// Encode writes a manifest, for sealing.
func (m Manifest) Encode() ([]byte, error) {
	rec := manifestRecord{
		Schema: schema, Fleet: m.Fleet, At: m.At.Unix(), Epoch: m.Epoch, Names: m.Names, Items: m.Items,
		Records: map[string]string{}, Lost: m.Lost, Key: m.Key, Leaders: m.Leaders,
	}
	for path, d := range m.Records {
		rec.Records[path] = hex.EncodeToString(d[:])
	}
	for _, d := range m.Shards {
		rec.Shards = append(rec.Shards, d[:]...)
	}
	for _, d := range m.Pages {
		rec.Pages = append(rec.Pages, d[:]...)
	}
	b, err := json.Marshal(rec)
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	return b, nil
}

// Decode reads what Encode wrote. Errors wrap ErrManifest.
func Decode(b []byte) (Manifest, error) {
	var rec manifestRecord
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&rec); err != nil {
		return Manifest{}, fmt.Errorf("decode manifest: %w: %w", ErrManifest, err)
	}
	if rec.Schema != schema {
		return Manifest{}, fmt.Errorf("decode manifest: %w: schema %d, this tlsfleet reads %d", ErrManifest, rec.Schema, schema)
	}
	m := Manifest{
		Fleet: rec.Fleet, At: time.Unix(rec.At, 0).UTC(), Epoch: rec.Epoch, Names: rec.Names, Items: rec.Items,
		Records: map[string]Digest{}, Lost: rec.Lost, Key: rec.Key, Leaders: rec.Leaders,
	}
	for path, text := range rec.Records {
		raw, err := hex.DecodeString(text)
		if err != nil || len(raw) != len(Digest{}) {
			return Manifest{}, fmt.Errorf("decode manifest: %w: digest of %s", ErrManifest, path)
		}
		m.Records[path] = Digest(raw)
	}
	if !spread(m.Shards[:], rec.Shards) || !spread(m.Pages[:], rec.Pages) {
		return Manifest{}, fmt.Errorf("decode manifest: %w: %d and %d bytes of digests", ErrManifest, len(rec.Shards), len(rec.Pages))
	}
	return m, nil
}

// spread cuts digests apart.
func spread(to []Digest, from []byte) bool {
	if len(from) != len(to)*len(Digest{}) {
		return false
	}
	for i := range to {
		to[i] = Digest(from[i*len(Digest{}):])
	}
	return true
}

// title is the first line of a manifest, for people and for telling fleets apart
// without a key.
const title = "tlsfleet copy of fleet "

// Label is a sealed manifest with its fleet's name in front.
func Label(fleetName string, sealed []byte) []byte {
	return append([]byte(title+fleetName+"\n"), sealed...)
}

// Unlabel undoes Label. ErrForeign if it is the manifest of another fleet,
// ErrManifest if it is none.
func Unlabel(fleetName string, labelled []byte) (sealed []byte, _ error) {
	line, sealed, _ := bytes.Cut(labelled[:min(len(labelled), MaxObject)], []byte("\n"))
	other, ok := strings.CutPrefix(string(line), title)
	if !ok || fleet.CheckName(other) != nil {
		return nil, fmt.Errorf("read manifest: %w", ErrManifest)
	}
	if other != fleetName {
		return nil, fmt.Errorf("read manifest: %w: %q, this is %q", ErrForeign, other, fleetName)
	}
	return sealed, nil
}
