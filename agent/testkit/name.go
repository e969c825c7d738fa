package testkit

import (
	"crypto/rand"
	"encoding/hex"
	"strings"
)

// FleetName is a fleet name that no other test uses: the test's name, cut and
// reduced to what fleet.CheckName allows, and a random end.
func FleetName(tb TB) string {
	tb.Helper()
	var end [6]byte
	if _, err := rand.Read(end[:]); err != nil {
		tb.Fatalf("make fleet name: %v", err)
	}
	const longest = 40
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '-'
	}, tb.Name())
	return "t-" + name[:min(len(name), longest)] + "-" + hex.EncodeToString(end[:])
}
