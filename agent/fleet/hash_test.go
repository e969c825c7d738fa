package fleet_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func TestHashText(t *testing.T) {
	tests := map[string]struct {
		hash fleet.Hash
		json string
	}{
		"zero": {fleet.Hash{}, `""`},
		"some": {fleet.Hash{0x00, 0x1f, 0xff}, `"001fff` + strings.Repeat("0", 58) + `"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b, err := json.Marshal(tt.hash)
			if err != nil || string(b) != tt.json {
				t.Fatalf("Marshal() = %s, %v, want %s", b, err, tt.json)
			}
			got := fleet.Hash{9}
			if err := json.Unmarshal(b, &got); err != nil || got != tt.hash {
				t.Errorf("Unmarshal(%s) = %v, %v, want %v", b, got, err, tt.hash)
			}
			if got.IsZero() != (name == "zero") {
				t.Errorf("IsZero() = %t for %s", got.IsZero(), name)
			}
		})
	}
}

func TestParseHashRefusesOtherText(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "short": strings.Repeat("0", 62), "odd": strings.Repeat("0", 63), "long": strings.Repeat("0", 66),
		"not hex": strings.Repeat("g", 64), "upper case": strings.Repeat("A", 64), "path": "../" + strings.Repeat("0", 61),
	} {
		if h, err := fleet.ParseHash(text); err == nil || !h.IsZero() {
			t.Errorf("ParseHash(%s) = %v, %v, want an error and no hash", name, h, err)
		}
		was := fleet.Hash{9}
		h := was
		if err := h.UnmarshalText([]byte(text)); text != "" && (err == nil || h != was) {
			t.Errorf("UnmarshalText(%s) = %v, and %v, want an error and no change", name, err, h)
		}
	}
}
