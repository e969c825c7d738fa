package fleet

import "strings"

// maxToken is what tlsfleet takes of a challenge's token; CAs make 43 characters.
const maxToken = 200

// IsToken reports whether s is the token of an ACME challenge (RFC 8555, section
// 8.3): base64url, and not too long. It can be a part of a path.
func IsToken(s string) bool {
	return s != "" && len(s) <= maxToken && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}
