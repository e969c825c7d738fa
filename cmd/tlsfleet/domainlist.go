package main

import (
	"fmt"
	"strings"
	"unicode"
)

// maxDomainList is the longest list of names in bytes that is read; more names
// than the leader's queue takes.
const maxDomainList = 32 << 20

// domainEntry is names that were given together.
type domainEntry struct {
	where string // "FILE:LINE: ", empty for an argument
	names []string
}

// parseDomains reads a list: each line has one name, or several, separated by
// spaces or commas, that belong together. "#" begins a comment. Lines end in LF,
// CRLF or CR. Names are not checked.
func parseDomains(from, text string) []domainEntry {
	text = strings.TrimPrefix(text, "\ufeff")
	text = strings.ReplaceAll(text, "\r\n", "\n")
	text = strings.ReplaceAll(text, "\r", "\n")
	var all []domainEntry
	n := 0
	for line := range strings.SplitSeq(text, "\n") {
		n++
		line, _, _ = strings.Cut(line, "#")
		names := strings.FieldsFunc(line, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
		if len(names) > 0 {
			all = append(all, domainEntry{fmt.Sprintf("%s:%d: ", from, n), names})
		}
	}
	return all
}
