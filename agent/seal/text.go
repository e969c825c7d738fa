package seal

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// The words that start a key line; their number is the version of the line.
const (
	keyWord  = "tlsfleet-key-1"
	nextWord = "tlsfleet-next-1" // the last line: the key that is to seal next
)

// header opens every keyring file.
const header = `# tlsfleet keyring. Secret: mode 0600, the same file on every node of the fleet.
# The first key seals, all keys open. tlsfleet keyring rotate changes it.
`

// Parse reads the text of a keyring file: lines that start with '#' are
// comments, every other line is
//
//	tlsfleet-key-1 <id> <base64 of 32 bytes>
//
// with single spaces and a newline at its end. The last of several may begin
// with tlsfleet-next-1: that key is to seal next. At most MaxKeys keys, no
// duplicates, each id must belong to its key. Errors wrap ErrKeyring, name the
// line and never show it.
func Parse(text []byte) (*Keyring, error) {
	k := new(Keyring)
	for n := 1; len(text) > 0; n++ {
		line, rest, ended := bytes.Cut(text, []byte("\n"))
		if !ended {
			return nil, fmt.Errorf("parse keyring line %d: %w: no newline at the end, the file was cut: copy it again", n, ErrKeyring)
		}
		text = rest
		if bytes.HasPrefix(line, []byte("#")) {
			continue
		}
		if err := k.parseLine(string(line)); err != nil {
			return nil, fmt.Errorf("parse keyring line %d: %w", n, err)
		}
	}
	if len(k.keys) == 0 {
		return nil, fmt.Errorf("parse keyring: %w: it has no keys, make one with `tlsfleet keyring init`", ErrKeyring)
	}
	return k, nil
}

// parseLine adds the key of one line.
func (k *Keyring) parseLine(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	id, text, found := strings.Cut(rest, " ")
	if word != keyWord && word != nextWord || !found {
		return fmt.Errorf("%w: want `%s <id> <base64>` or a comment that starts with '#'", ErrKeyring, keyWord)
	}
	if k.Next() != "" {
		return fmt.Errorf("%w: it follows the key that is to seal next, which has to be the last: copy the file again", ErrKeyring)
	}
	if word == nextWord && len(k.keys) == 0 {
		return fmt.Errorf("%w: the first key seals, and this one does not yet: copy the file again", ErrKeyring)
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return fmt.Errorf("%w: the key is not base64, copy the line again: %w", ErrKeyring, err)
	}
	key, err := newKey(raw)
	if err != nil {
		return err
	}
	key.next = word == nextWord
	if key.id.String() != id {
		return fmt.Errorf("%w: the id does not belong to the key, the line was altered: copy it again", ErrKeyring)
	}
	if key.line() != line {
		return fmt.Errorf("%w: extra characters in the line: remove them", ErrKeyring)
	}
	if _, found := k.find(key.id); found {
		return fmt.Errorf("%w: key %s stands there twice: remove one of the lines", ErrKeyring, id)
	}
	if len(k.keys) == MaxKeys {
		return fmt.Errorf("%w: more than %d keys: remove the ones no record is sealed with", ErrKeyring, MaxKeys)
	}
	k.keys = append(k.keys, key)
	return nil
}

// line is the key's line without the newline.
func (k key) line() string {
	word := keyWord
	if k.next {
		word = nextWord
	}
	return word + " " + k.id.String() + " " + base64.StdEncoding.EncodeToString(k.secret().Reveal())
}

// Marshal is the text of the keyring file. Parse reads it back.
func (k *Keyring) Marshal() fleet.Secret {
	var b strings.Builder
	b.WriteString(header)
	for _, key := range k.keys {
		b.WriteString(key.line() + "\n")
	}
	return fleet.NewSecret([]byte(b.String()))
}
