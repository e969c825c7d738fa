package ticket_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/ticket"
)

func b64(b []byte) []byte { return []byte(base64.StdEncoding.EncodeToString(b)) }

// wrap breaks text into lines of n characters, the last one ended as well.
func wrap(text []byte, n int, newline string) []byte {
	var out []byte
	for len(text) > 0 {
		cut := min(n, len(text))
		out = append(append(out, text[:cut]...), newline...)
		text = text[cut:]
	}
	return out
}

func TestDecodePayload(t *testing.T) {
	key48, key80 := rawKey(48, 7), rawKey(80, 8)
	tests := map[string]struct {
		payload []byte
		want    []byte
	}{
		"raw 48":                             {key48, key48},
		"raw 80":                             {key80, key80},
		"once, 48":                           {b64(key48), key48},
		"once, 80":                           {b64(key80), key80},
		"twice, 48":                          {b64(b64(key48)), key48},
		"twice, 80":                          {b64(b64(key80)), key80},
		"openssl rand 48 | base64":           {wrap(b64(key48), 76, "\n"), key48},
		"openssl rand 80 | base64":           {wrap(b64(key80), 76, "\n"), key80},
		"the same on stdin of a watch":       {b64(wrap(b64(key80), 76, "\n")), key80},
		"CR LF":                              {wrap(b64(key80), 76, "\r\n"), key80},
		"CR LF, twice":                       {wrap(b64(wrap(b64(key80), 76, "\r\n")), 64, "\r\n"), key80},
		"surrounded by spaces":               {[]byte("\n\t  " + string(b64(key80)) + "  \r\n"), key80},
		"newline became a space":             {wrap(b64(key80), 76, " "), key80},
		"80 characters that are a key of 48": {wrap(b64(key48), 4, "\n"), key48},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for fn, decode := range map[string]func([]byte) (fleet.Secret, error){
				"DecodePayload": ticket.DecodePayload, "DecodeKeyFile": ticket.DecodeKeyFile,
			} {
				key, err := decode(tt.payload)
				if err != nil || !bytes.Equal(key.Reveal(), tt.want) {
					t.Errorf("%s() = %x, %v, want %x", fn, key.Reveal(), err, tt.want)
				}
			}
		})
	}
}

func TestDecodePayloadRefuses(t *testing.T) {
	key80 := rawKey(80, 8)
	tests := map[string]struct {
		payload []byte
		want    string
	}{
		"nil":                 {nil, "empty"},
		"empty":               {[]byte{}, "empty"},
		"white space":         {[]byte(" \r\n"), "3 bytes that are not base64"},
		"[]":                  {[]byte("[]"), "2 bytes that are not base64"},
		"not JSON":            {[]byte("{oops"), "not base64"},
		"a word":              {[]byte("refresh!"), "8 bytes that are not base64"},
		"raw 47":              {key80[:47], "47 bytes that are not base64"},
		"raw 49":              {key80[:49], "49 bytes that are not base64"},
		"raw 79":              {key80[:79], "79 bytes"},
		"raw 81":              {append(bytes.Clone(key80), 1), "81 bytes"},
		"once, 47":            {b64(key80[:47]), "64 bytes, 47 after base64 once"},
		"once, 49":            {b64(key80[:49]), "49 after base64 once"},
		"once, 79":            {b64(key80[:79]), "79 after base64 once"},
		"once, 81":            {b64(append(bytes.Clone(key80), 1)), "81 after base64 once"},
		"twice, 47":           {b64(b64(key80[:47])), "47 after base64 twice"},
		"twice, 79":           {b64(b64(key80[:79])), "79 after base64 twice"},
		"three times":         {b64(b64(b64(key80))), "108 after base64 twice"},
		"unpadded":            {bytes.TrimRight(b64(key80), "="), "not base64"},
		"URL alphabet":        {[]byte(base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, 80))), "not base64"},
		"padding bits set":    {append(b64(rawKey(80, 8))[:106], "x="...), "not base64"},
		"hexadecimal, 48":     {[]byte(hex.EncodeToString(key80[:24])), "text"},
		"hexadecimal, 80":     {[]byte(hex.EncodeToString(key80[:40])), "text"},
		"base64 of hex, 80":   {b64([]byte(hex.EncodeToString(key80[:40]))), "text"},
		"hexadecimal newline": {[]byte(hex.EncodeToString(key80[:40]) + "\n"), "81 bytes"},
		"all zero":            {b64(make([]byte, 80)), "zero"},
		"all zero, raw":       {make([]byte, 48), "zero"},
		"9 KB":                {bytes.Repeat([]byte("A"), 9<<10), "9216 bytes, at most 4096"},
		"4097 bytes":          {bytes.Repeat([]byte("\n"), 4097), "4097 bytes, at most 4096"},
		"4 KB":                {bytes.Repeat([]byte("A"), 4096), "4096 bytes, 3072 after base64 once"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := ticket.DecodePayload(tt.payload)
			wantError(t, "DecodePayload()", err, ticket.ErrKey, tt.want)
			wantError(t, "DecodePayload()", err, ticket.ErrKey, "decode event payload: ")
			wantError(t, "DecodePayload()", err, ticket.ErrKey, "make one with")
			_, err = ticket.DecodeKeyFile(tt.payload)
			wantError(t, "DecodeKeyFile()", err, ticket.ErrKey, tt.want)
			wantError(t, "DecodeKeyFile()", err, ticket.ErrKey, "decode key file: ")
		})
	}
}

func TestDecodePayloadReadsEveryWrapping(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]int{48, 80}).Draw(t, "size")
		key := rapid.SliceOfN(rapid.ByteMin(128), size, size).Draw(t, "key")
		payload := bytes.Clone(key)
		for range rapid.IntRange(0, 2).Draw(t, "times") {
			payload = wrap(b64(payload), rapid.IntRange(20, 200).Draw(t, "columns"),
				rapid.SampledFrom([]string{"", "\n", "\r\n", " "}).Draw(t, "newline"))
		}
		got, err := ticket.DecodePayload(payload)
		if err != nil || !bytes.Equal(got.Reveal(), key) {
			t.Fatalf("DecodePayload(%q) = %x, %v, want %x", payload, got.Reveal(), err, key)
		}
	})
}

func FuzzDecodePayload(f *testing.F) {
	key := rawKey(80, 8)
	for _, seed := range [][]byte{
		nil, []byte("[]"), key, key[:48], key[:47], b64(key), b64(b64(key)), wrap(b64(key), 76, "\n"),
		wrap(b64(key[:48]), 4, "\n"), make([]byte, 48), []byte(strings.Repeat("=", 48)),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		got, err := ticket.DecodePayload(payload)
		if err != nil {
			if !errors.Is(err, ticket.ErrKey) || got.Len() != 0 {
				t.Fatalf("DecodePayload(%q) = %d bytes, %v, want none and ErrKey", payload, got.Len(), err)
			}
			return
		}
		if _, err := ticket.CheckKey(got.Reveal()); err != nil {
			t.Fatalf("DecodePayload(%q) = %x that CheckKey refuses: %v", payload, got.Reveal(), err)
		}
		again, err := ticket.DecodePayload(b64(got.Reveal()))
		if err != nil || !again.Equal(got) {
			t.Fatalf("DecodePayload(base64 of %x) = %x, %v", got.Reveal(), again.Reveal(), err)
		}
	})
}
