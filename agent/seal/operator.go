package seal

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// operatorWord starts the one line of an operator's key that is no comment.
const operatorWord = "tlsfleet-operator-1"

// Operator is the key that keyrings for nodes are signed with (Ed25519). It is on
// no node: nodes have its public part in their configuration, so that neither
// Consul nor another node can give them a keyring.
type Operator struct {
	key func() ed25519.PrivateKey
}

// OperatorKey is the public part of an Operator.
type OperatorKey struct{ public ed25519.PublicKey }

// String is how configurations write it.
func (k OperatorKey) String() string {
	return operatorWord + ":" + base64.RawURLEncoding.EncodeToString(k.public)
}

// ParseOperatorKey reads what String writes.
func ParseOperatorKey(s string) (OperatorKey, error) {
	text, found := strings.CutPrefix(s, operatorWord+":")
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if !found || err != nil || len(raw) != ed25519.PublicKeySize {
		return OperatorKey{}, fmt.Errorf("%w: %.80q is no operator's key, which tlsfleet node operator prints", ErrIdentity, s)
	}
	return OperatorKey{raw}, nil
}

// Public is the public part.
func (o *Operator) Public() OperatorKey {
	public, _ := o.key().Public().(ed25519.PublicKey) //nolint:errcheck // it is one
	return OperatorKey{public}
}

// String is the public part.
func (o Operator) String() string { return o.Public().String() }

// LoadOperator reads the file with the operator's key. It refuses one that others
// can read. The error wraps fs.ErrNotExist if there is none.
func LoadOperator(path string) (*Operator, error) {
	text, err := loadSecret(path)
	if err != nil {
		return nil, fmt.Errorf("load operator's key: %w", err)
	}
	for line := range strings.Lines(string(text.Reveal())) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		word, seed, _ := strings.Cut(strings.TrimSpace(line), " ")
		raw, err := base64.StdEncoding.DecodeString(seed)
		if word != operatorWord || err != nil || len(raw) != ed25519.SeedSize {
			break
		}
		return operator(ed25519.NewKeyFromSeed(raw)), nil
	}
	return nil, fmt.Errorf("load operator's key %s: %w: damaged: bring back a copy of it, or make another one elsewhere and admit all nodes again", path, ErrIdentity)
}

func operator(key ed25519.PrivateKey) *Operator {
	return &Operator{func() ed25519.PrivateKey { return key }}
}

// EnsureOperator is LoadOperator, and makes the file if there is none.
func EnsureOperator(path string) (o *Operator, made bool, err error) {
	if o, err = LoadOperator(path); !errors.Is(err, fs.ErrNotExist) {
		return o, false, err
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, false, fmt.Errorf("make operator's key: %w", err)
	}
	text := "# tlsfleet operator. Secret: on the operator's host only, never on a node.\n" +
		operatorWord + " " + base64.StdEncoding.EncodeToString(key.Seed()) + "\n"
	err = createPrivate(path, []byte(text))
	if errors.Is(err, fs.ErrExist) { // somebody else was faster
		o, err = LoadOperator(path)
		return o, false, err
	}
	if err != nil {
		return nil, false, fmt.Errorf("make operator's key: %w", err)
	}
	return operator(key), true, nil
}
