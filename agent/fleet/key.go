package fleet

import (
	"encoding/hex"
	"fmt"
	"time"
)

// Sizes of an nginx session ticket key file in bytes
// (nginx directive ssl_session_ticket_key).
const (
	KeyNameSize = 16 // the name, in clear at the head of every ticket
	KeySize128  = 48 // name 16, AES-128 16, HMAC-SHA256 16
	KeySize256  = 80 // name 16, HMAC-SHA256 32, AES-256 32
)

// KeyName is the public name of a ticket key: the first 16 bytes of the key
// and of every ticket sealed with it (RFC 5077, section 4).
type KeyName [KeyNameSize]byte

// String is the name as 32 hexadecimal digits.
func (n KeyName) String() string { return hex.EncodeToString(n[:]) }

// IsZero reports whether the name is all zero bytes.
func (n KeyName) IsZero() bool { return n == KeyName{} }

// MarshalText implements encoding.TextMarshaler: 32 hexadecimal digits, or
// nothing for the zero name.
func (n KeyName) MarshalText() ([]byte, error) {
	if n.IsZero() {
		return nil, nil
	}
	return []byte(n.String()), nil
}

// UnmarshalText reads what MarshalText wrote.
func (n *KeyName) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*n = KeyName{}
		return nil
	}
	if len(text) != 2*KeyNameSize {
		return fmt.Errorf("read key name: %d characters, want %d", len(text), 2*KeyNameSize)
	}
	if _, err := hex.Decode(n[:], text); err != nil {
		return fmt.Errorf("read key name: %w", err)
	}
	return nil
}

// Origin says who made a ticket key.
type Origin string

// Where ticket keys come from.
const (
	OriginLeader Origin = "leader" // made by tlsfleet
	OriginEvent  Origin = "event"  // adopted from a Consul event
	OriginFile   Origin = "file"   // adopted from rotate-ticket --key-file
)

// TicketKey is one session ticket key with its life so far. The zero value is
// no key.
type TicketKey struct {
	Raw      Secret    // KeySize128 or KeySize256 bytes, as nginx reads them
	Origin   Origin    // who made it
	Born     time.Time // when it entered the ring
	Promoted time.Time // when it began to seal; zero while it is next
	Retired  time.Time // when it stopped sealing; zero until it is previous
}

// Name is the first 16 bytes of the key.
func (k TicketKey) Name() KeyName {
	var n KeyName
	copy(n[:], k.Raw.bytes())
	return n
}

// IsZero reports whether there is no key.
func (k TicketKey) IsZero() bool { return k.Raw.Len() == 0 }
