package templates

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Quote returns s as exactly one token of an nginx configuration: bare where
// nginx reads it as it stands, in double quotes otherwise. Control characters,
// invalid UTF-8 and '$', which nginx would expand in some directives, are
// refused.
func Quote(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("quote %q for nginx: not UTF-8", s)
	}
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == '$' {
			return "", fmt.Errorf("quote %q for nginx: character %q is not allowed", s, r)
		}
	}
	if s != "" && strings.IndexFunc(s, needsQuotes) < 0 {
		return s, nil
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`, nil
}

func needsQuotes(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return false
	}
	return !strings.ContainsRune("/._-:=@+,[]*", r)
}
