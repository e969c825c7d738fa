package templates

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Quote returns s as exactly one token of an nginx configuration: bare where
// nginx reads it as it stands, in double quotes otherwise. Control characters,
// invalid UTF-8 and '$', which nginx would expand in some directives, are
// refused, and so is what does not fit into the buffer in which nginx reads a
// token (NGX_CONF_BUFFER, 4096 bytes).
func Quote(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("quote %q for nginx: not UTF-8", s)
	}
	if len(s) > maxToken {
		return "", fmt.Errorf("quote %.60q for nginx: %d bytes, at most %d", s, len(s), maxToken)
	}
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == '$' {
			return "", fmt.Errorf("quote %q for nginx: character %q is not allowed", s, r)
		}
	}
	if s != "" && strings.IndexFunc(s, needsQuotes) < 0 {
		return s, nil
	}
	quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
	if len(quoted) > maxToken {
		return "", fmt.Errorf("quote %.60q for nginx: %d bytes with quotes, at most %d", s, len(quoted), maxToken)
	}
	return quoted, nil
}

// maxToken is below nginx's buffer: what follows a token has to fit too.
const maxToken = 4000

func needsQuotes(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return false
	}
	return !strings.ContainsRune("/._-:=@+,[]*", r)
}
