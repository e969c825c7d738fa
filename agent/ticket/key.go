package ticket

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// ErrKey is returned for bytes that must not be used as a ticket key.
var ErrKey = errors.New("not a usable ticket key")

// makeKey tells an operator how to make a key.
const makeKey = "make one with `openssl rand 80 | base64`"

// NewKey makes a ticket key of fleet.KeySize256 bytes out of rand
// (crypto/rand.Reader outside tests), born now, of fleet.OriginLeader. The
// error wraps ErrKey when rand yields bytes that CheckKey refuses, else the
// cause of the failed read.
func NewKey(rand io.Reader, now time.Time) (fleet.TicketKey, error) {
	raw := make([]byte, fleet.KeySize256)
	if _, err := io.ReadFull(rand, raw); err != nil {
		return fleet.TicketKey{}, fmt.Errorf("make ticket key: read random bytes: %w", err)
	}
	secret, err := CheckKey(raw)
	if err != nil {
		return fleet.TicketKey{}, fmt.Errorf("make ticket key: %w", err)
	}
	return fleet.TicketKey{Raw: secret, Origin: fleet.OriginLeader, Born: seconds(now)}, nil
}

// CheckKey accepts 48 or 80 bytes as nginx reads them (directive
// ssl_session_ticket_key) and refuses what nginx would take without a word:
// a name or a secret part of zeros only, and plain text, which is a key that
// was never decoded or never random. Errors wrap ErrKey and do not show raw.
func CheckKey(raw []byte) (fleet.Secret, error) {
	// The two halves of the secret part are the AES and the HMAC key, in
	// either order.
	half := (len(raw) - fleet.KeyNameSize) / 2
	switch {
	case !isKeySize(len(raw)):
		return fleet.Secret{}, fmt.Errorf("%w: %d bytes, want %d or %d: %s",
			ErrKey, len(raw), fleet.KeySize128, fleet.KeySize256, makeKey)
	case isZero(raw[:fleet.KeyNameSize]):
		return fleet.Secret{}, fmt.Errorf("%w: its first %d bytes, the name, are zero: %s", ErrKey, fleet.KeyNameSize, makeKey)
	case isZero(raw[fleet.KeyNameSize:][:half]), isZero(raw[fleet.KeyNameSize+half:]):
		return fleet.Secret{}, fmt.Errorf("%w: its AES or HMAC part is zero: %s", ErrKey, makeKey)
	case isText(raw):
		return fleet.Secret{}, fmt.Errorf("%w: %d bytes of text, not of random data: %s", ErrKey, len(raw), makeKey)
	}
	return fleet.NewSecret(raw), nil
}

func isKeySize(n int) bool { return n == fleet.KeySize128 || n == fleet.KeySize256 }

func isZero(b []byte) bool {
	var sum byte
	for _, c := range b {
		sum |= c
	}
	return sum == 0
}

// isText reports whether b is printable ASCII and white space only. Of 2^65
// random keys of 48 bytes fewer than one is.
func isText(b []byte) bool {
	for _, c := range b {
		if !isSpace(c) && (c < ' ' || c > '~') {
			return false
		}
	}
	return true
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }
