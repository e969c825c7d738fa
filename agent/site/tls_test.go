package site

import (
	"slices"
	"testing"
)

func TestSettings(t *testing.T) {
	node := NodeSettings()
	tests := map[string]struct {
		tls       TLS
		protocols []string
		curves    string
	}{
		"modern":                {TLS{Policy: Modern}, []string{TLS13}, "X25519:prime256v1:secp384r1"},
		"intermediate":          {TLS{Policy: Intermediate}, node.Protocols, node.Curves},
		"custom":                {TLS{Policy: Custom, Protocols: []string{TLS12}, Curves: "P-256"}, []string{TLS12}, "P-256"},
		"custom without curves": {TLS{Policy: Custom, Protocols: []string{TLS12}}, []string{TLS12}, node.Curves},
	}
	for name, tt := range tests {
		if got := tt.tls.Settings(); !slices.Equal(got.Protocols, tt.protocols) || got.Curves != tt.curves {
			t.Errorf("Settings(%s) = %+v, want %v and %s", name, got, tt.protocols, tt.curves)
		}
	}
}
