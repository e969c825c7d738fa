package fleet_test

import (
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func TestShareOfNodes(t *testing.T) {
	for text, want := range map[string]map[int]int{
		"25%":  {0: 1, 1: 1, 3: 1, 4: 1, 7: 1, 8: 2, 100: 25},
		"50%":  {3: 1, 4: 2, 5: 2},
		"100%": {0: 1, 3: 3},
		"1%":   {99: 1, 200: 2},
		"2":    {0: 2, 1: 2, 100: 2},
	} {
		s, err := fleet.ParseShare(text)
		if err != nil || s.String() != text {
			t.Errorf("ParseShare(%q) = %v, %v, want what it was read from", text, s, err)
		}
		for nodes, n := range want {
			if got := s.Of(nodes); got != n {
				t.Errorf("Of(%d) of %s = %d, want %d", nodes, s, got, n)
			}
		}
	}
}

func TestParseShareRefuses(t *testing.T) {
	for _, text := range []string{"", "%", "0", "0%", "101%", "-1", "+1", "1.5%", "25 %", "025%", "1000000", "all", "25%%"} {
		if s, err := fleet.ParseShare(text); err == nil {
			t.Errorf("ParseShare(%q) = %v, want an error", text, s)
		}
	}
}
