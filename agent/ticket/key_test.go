package ticket_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/ticket"
)

func TestNewKey(t *testing.T) {
	now := time.Date(2026, 3, 1, 14, 30, 5, 999, time.FixedZone("CEST", 7200))
	k, err := ticket.NewKey(rand.Reader, now)
	if err != nil {
		t.Fatal(err)
	}
	if k.Raw.Len() != fleet.KeySize256 || k.Origin != fleet.OriginLeader {
		t.Errorf("NewKey() has %d bytes of %q, want %d of %q", k.Raw.Len(), k.Origin, fleet.KeySize256, fleet.OriginLeader)
	}
	if want := time.Date(2026, 3, 1, 12, 30, 5, 0, time.UTC); k.Born != want {
		t.Errorf("Born = %v, want %v", k.Born, want)
	}
	other, err := ticket.NewKey(rand.Reader, now)
	if err != nil {
		t.Fatal(err)
	}
	if k.Raw.Equal(other.Raw) {
		t.Error("two new keys are equal")
	}
}

func TestNewKeyRefusesBadRandomSource(t *testing.T) {
	_, err := ticket.NewKey(bytes.NewReader(make([]byte, 80)), day)
	wantError(t, "NewKey(zeros)", err, ticket.ErrKey, "zero")
	if _, err := ticket.NewKey(bytes.NewReader(make([]byte, 79)), day); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("NewKey(79 bytes) = %v, want unexpected EOF", err)
	}
}

func TestCheckKey(t *testing.T) {
	// zeroed is a key with the bytes from..to set to zero.
	zeroed := func(size, from, to int) []byte {
		b := rawKey(size, 1)
		clear(b[from:to])
		return b
	}
	tests := map[string]struct {
		raw  []byte
		want string // in the error; empty for a good key
	}{
		"48 bytes":            {rawKey(48, 1), ""},
		"80 bytes":            {rawKey(80, 1), ""},
		"last byte set":       {zeroed(48, 33, 47), ""},
		"nil":                 {nil, "0 bytes"},
		"16 bytes":            {rawKey(16, 1), "16 bytes"},
		"47 bytes":            {rawKey(48, 1)[:47], "47 bytes"},
		"49 bytes":            {append(rawKey(48, 1), 1), "49 bytes"},
		"64 bytes":            {rawKey(64, 1), "64 bytes"},
		"79 bytes":            {rawKey(80, 1)[:79], "79 bytes"},
		"81 bytes":            {append(rawKey(80, 1), 1), "81 bytes"},
		"all zero, 48":        {make([]byte, 48), "zero"},
		"all zero, 80":        {make([]byte, 80), "zero"},
		"name zero":           {zeroed(80, 0, 16), "the name"},
		"secret zero, 48":     {zeroed(48, 16, 48), "AES or HMAC"},
		"secret zero, 80":     {zeroed(80, 16, 80), "AES or HMAC"},
		"first half zero, 48": {zeroed(48, 16, 32), "AES or HMAC"},
		"last half zero, 48":  {zeroed(48, 32, 48), "AES or HMAC"},
		"first half zero, 80": {zeroed(80, 16, 48), "AES or HMAC"},
		"last half zero, 80":  {zeroed(80, 48, 80), "AES or HMAC"},
		"hexadecimal digits":  {[]byte(strings.Repeat("0123456789abcdef", 5)), "text"},
		"base64 with newline": {[]byte(strings.Repeat("QUJDREVG", 6)[:47] + "\n"), "text"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			key, err := ticket.CheckKey(tt.raw)
			if tt.want != "" {
				wantError(t, "CheckKey()", err, ticket.ErrKey, tt.want)
				wantError(t, "CheckKey()", err, ticket.ErrKey, "openssl rand 80 | base64")
				return
			}
			if err != nil || !bytes.Equal(key.Reveal(), tt.raw) {
				t.Errorf("CheckKey() = %x, %v, want %x", key.Reveal(), err, tt.raw)
			}
		})
	}
}
