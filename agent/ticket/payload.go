package ticket

import (
	"encoding/base64"
	"fmt"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// maxPayload is the largest event payload or key file in bytes.
const maxPayload = 4 << 10

// DecodePayload reads the ticket key in the payload of a Consul event, as the
// Go API or one base64 decoding of a watch handler's input gives it. It takes
// the key as base64 (RFC 4648, section 4) once or twice over, with spaces, CR
// and LF anywhere, as `openssl rand 80 | base64` wraps its output, or as the
// raw 48 or 80 bytes. Bytes that can be read in several ways are read in the
// one that decodes most often. Errors wrap ErrKey and do not show the payload.
func DecodePayload(payload []byte) (fleet.Secret, error) {
	return decode("event payload", payload)
}

// DecodeKeyFile reads the content of a key file: the raw 48 or 80 bytes that
// nginx would read, else whatever DecodePayload takes. Errors wrap ErrKey and
// do not show the content.
func DecodeKeyFile(content []byte) (fleet.Secret, error) {
	return decode("key file", content)
}

func decode(what string, b []byte) (fleet.Secret, error) {
	if len(b) == 0 {
		return fleet.Secret{}, fmt.Errorf("decode %s: %w: it is empty: %s", what, ErrKey, makeKey)
	}
	if len(b) > maxPayload {
		return fleet.Secret{}, fmt.Errorf("decode %s: %w: %d bytes, at most %d are read: %s", what, ErrKey, len(b), maxPayload, makeKey)
	}
	sizes := fmt.Sprintf("%d bytes", len(b))
	readings := [][]byte{b}
	for _, times := range []string{"once", "twice"} {
		decoded, ok := decodeBase64(readings[0])
		if !ok {
			break
		}
		readings = append([][]byte{decoded}, readings...)
		sizes += fmt.Sprintf(", %d after base64 %s", len(decoded), times)
	}
	for _, raw := range readings {
		if !isKeySize(len(raw)) {
			continue
		}
		key, err := CheckKey(raw)
		if err != nil {
			return fleet.Secret{}, fmt.Errorf("decode %s: %w", what, err)
		}
		return key, nil
	}
	if len(readings) == 1 {
		sizes += " that are not base64"
	}
	return fleet.Secret{}, fmt.Errorf("decode %s: %w: %s, want a key of %d or %d: %s",
		what, ErrKey, sizes, fleet.KeySize128, fleet.KeySize256, makeKey)
}

// decodeBase64 ignores white space; what is left must be canonical base64 and
// not empty.
func decodeBase64(b []byte) ([]byte, bool) {
	text := make([]byte, 0, len(b))
	for _, c := range b {
		if !isSpace(c) {
			text = append(text, c)
		}
	}
	decoded, err := base64.StdEncoding.Strict().DecodeString(string(text))
	return decoded, err == nil && len(decoded) > 0
}
