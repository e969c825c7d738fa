package fleet_test

import (
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func TestIsThumbprint(t *testing.T) {
	good := strings.Repeat("A", 42) + "8" // the last character carries four bits
	for s, want := range map[string]bool{
		good: true, strings.Repeat("_-z9", 10) + "ABc": true, "": false, good[:42]: false, good + "A": false, good + "=": false,
		strings.Repeat("A", 42) + "9": false, strings.Repeat("A", 42) + ";": false, good[:42] + "\n": false, "\n" + good[:42]: false, good[:42] + "\r8": false,
	} {
		if got := fleet.IsThumbprint(s); got != want {
			t.Errorf("IsThumbprint(%q) = %v, want %v", s, got, want)
		}
	}
}
