package fleet

import "encoding/base64"

// IsThumbprint reports whether s is the thumbprint of an ACME account key: the
// SHA-256 of RFC 7638 as 43 characters of base64url (RFC 8555, section 8.1). It
// is written into nginx's configuration.
func IsThumbprint(s string) bool {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(raw) == HashSize && len(s) == base64.RawURLEncoding.EncodedLen(HashSize)
}
