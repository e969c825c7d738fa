package seal

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"filippo.io/age"
)

// maxGrant is the largest grant in bytes that is read.
const maxGrant = 256 << 10

// ErrGrant means that a grant is damaged, forged, of somebody else, or older than
// one that was taken.
var ErrGrant = errors.New("keyring for this node refused")

// Grant is a keyring for one node: wrapped to its identity, so that nobody else
// reads it, and signed by the operator, so that nobody else makes it.
type Grant struct {
	Fleet      string   `json:"fleet"`
	Node       string   `json:"node"`
	Recipient  string   `json:"recipient"`  // of the node's identity
	Generation uint64   `json:"generation"` // higher in each one for this node
	Keys       []string `json:"keys"`       // ids, public; the first seals
	Next       string   `json:"next,omitempty"`
	Wrapped    []byte   `json:"wrapped"` // the text of the keyring file, by age
}

// signed is a grant as it is stored.
type signed struct {
	Schema    int    `json:"schema"`
	Grant     []byte `json:"grant"` // JSON, as it was signed
	Signature []byte `json:"signature"`
}

// grantSchema is the version of the form.
const grantSchema = 1

// grantDomain keeps signatures on grants from being anything else.
const grantDomain = "tlsfleet-grant-1\x00"

// Wrap makes the record of a grant; Keys, Next and Wrapped are those of k.
func (o *Operator) Wrap(g Grant, k *Keyring) ([]byte, error) {
	to, err := age.ParseX25519Recipient(g.Recipient)
	if err != nil {
		return nil, fmt.Errorf("wrap keyring for %s: %w: %w", g.Node, ErrIdentity, err)
	}
	var wrapped bytes.Buffer
	w, err := age.Encrypt(&wrapped, to)
	if err == nil {
		_, err = w.Write(k.Marshal().Reveal())
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("wrap keyring for %s: %w", g.Node, err)
	}
	g.Keys, g.Next, g.Wrapped = k.IDs(), k.Next(), wrapped.Bytes()
	text, err := json.Marshal(g)
	if err != nil {
		return nil, fmt.Errorf("wrap keyring for %s: %w", g.Node, err)
	}
	record, err := json.Marshal(signed{grantSchema, text, ed25519.Sign(o.key(), append([]byte(grantDomain), text...))})
	if err != nil {
		return nil, fmt.Errorf("wrap keyring for %s: %w", g.Node, err)
	}
	return record, nil
}

// Verify reads the record of a grant that the operator has signed for a node of a
// fleet. The error wraps ErrGrant.
func (k OperatorKey) Verify(record []byte, fleetName, node string) (Grant, error) {
	refuse := func(why string) (Grant, error) { return Grant{}, fmt.Errorf("%w: %s", ErrGrant, why) }
	if len(record) > maxGrant {
		return refuse(fmt.Sprintf("%d bytes, at most %d are read", len(record), maxGrant))
	}
	var s signed
	if err := json.Unmarshal(record, &s); err != nil || s.Schema != grantSchema {
		return refuse("not in a form that this version reads")
	}
	if len(k.public) != ed25519.PublicKeySize || !ed25519.Verify(k.public, append([]byte(grantDomain), s.Grant...), s.Signature) {
		return refuse("the operator whose key is in the configuration has not signed it: find out who wrote it")
	}
	var g Grant
	if err := json.Unmarshal(s.Grant, &g); err != nil {
		return refuse("not in a form that this version reads")
	}
	if g.Fleet != fleetName || g.Node != node {
		return refuse(fmt.Sprintf("it is for the node %q of the fleet %q", g.Node, g.Fleet))
	}
	return g, nil
}

// Unwrap opens a verified grant. The error wraps ErrGrant.
func (i *Identity) Unwrap(g Grant) (*Keyring, error) {
	if g.Recipient != i.Recipient() {
		return nil, fmt.Errorf("%w: it is wrapped to %s, this node is %s: admit it again", ErrGrant, g.Recipient, i.Recipient())
	}
	r, err := age.Decrypt(bytes.NewReader(g.Wrapped), i.identity())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGrant, err)
	}
	text, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGrant, err)
	}
	k, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGrant, err)
	}
	if !g.Fresh(k) {
		return nil, fmt.Errorf("%w: it has other keys in it than it says: admit the node again", ErrGrant)
	}
	return k, nil
}

// Fresh says that a grant is for exactly this keyring.
func (g Grant) Fresh(k *Keyring) bool {
	return g.Next == k.Next() && slices.Equal(g.Keys, k.IDs())
}

// NextGeneration is one for a grant after those up to last, given the time in Unix
// milliseconds: never lower, whatever clocks say.
func NextGeneration(last uint64, now int64) uint64 {
	return max(last+1, uint64(max(now, 0))) //nolint:gosec // not negative
}
