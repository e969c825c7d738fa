package fleet

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
)

// redacted is what every printed or encoded Secret looks like.
const redacted = "[secret]"

// ErrSecret is returned by the encoders of Secret: a secret leaves the process
// only through Reveal.
var ErrSecret = errors.New("a secret cannot be decoded from text")

// Secret is a byte string that never prints itself: every fmt verb, text and
// JSON encoder and logger shows "[secret]". It is a struct because loggers
// print the bytes of a named slice whatever methods it has.
//
// fmt calls no methods on unexported fields: it follows a pointer to data
// there, but not a pointer to a pointer. The empty array forbids ==, which
// would compare pointers.
type Secret struct {
	_ [0]func()
	p **[]byte
}

// NewSecret keeps a copy of b.
func NewSecret(b []byte) Secret {
	if len(b) == 0 {
		return Secret{}
	}
	own := append([]byte(nil), b...)
	p := &own
	return Secret{p: &p}
}

// bytes are the secret itself, for this package only.
func (s Secret) bytes() []byte {
	if s.p == nil {
		return nil
	}
	return **s.p
}

// Reveal returns a copy of the bytes; the caller owns it.
func (s Secret) Reveal() []byte { return append([]byte(nil), s.bytes()...) }

// Len is the number of bytes.
func (s Secret) Len() int { return len(s.bytes()) }

// Equal compares in constant time.
func (s Secret) Equal(o Secret) bool { return subtle.ConstantTimeCompare(s.bytes(), o.bytes()) == 1 }

// String implements fmt.Stringer.
func (Secret) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return redacted }

// Format implements fmt.Formatter for every verb.
func (Secret) Format(f fmt.State, _ rune) {
	// fmt ignores write errors too: there is nobody to tell.
	_, _ = f.Write([]byte(redacted)) //nolint:errcheck // see above
}

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler, and so JSON.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalText always fails with ErrSecret.
func (*Secret) UnmarshalText([]byte) error { return ErrSecret }
