package inventory_test

import (
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

// packed are bits in text, blanks left out, filled up with zeros.
func packed(text string) []byte {
	text = strings.ReplaceAll(text, " ", "")
	b := make([]byte, (len(text)+7)/8)
	for i := range len(text) {
		b[i/8] |= (text[i] - '0') << (7 - i%8)
	}
	return b
}

// TestDecodeShardRefusesCraftedNumbers: lengths that only an attacker writes,
// each out of range in a way of its own.
func TestDecodeShardRefusesCraftedNumbers(t *testing.T) {
	const (
		start = "1 000111 1 000001 1 000010" // shard 7, epoch 1, 2 entries
		zero  = "000000"                     // a column of order 0
	)
	ones, zeros := strings.Repeat("1", 63), strings.Repeat("0", 63)
	for name, text := range map[string]string{
		"order 63, lengths that overflow": start + zero + "1 0001011" + "111111" + "1" + zeros[:59] + "1010" + "1" + ones,
		"64 bit code":                     start + zero + zeros + "1" + zeros[:62] + "1" + "1" + zero + "1 1",
		"no end of zeros":                 start + zero + zeros + zeros + zeros,
		"value above the largest":         start + "111110" + "011" + zeros[:62] + "1" + zeros[:62] + zero + "1 1",
		"more shared than there is":       start + zero + "010" + "1" + zero + "1 1",
		"longer than any name":            start + zero + "1 1" + "111101" + "1" + ones[:61] + "1" + ones[:61],
		"no such shard":                   strings.Replace(start, "1 000111", "000001 00000 000000", 1),
	} {
		t.Run(name, func(t *testing.T) {
			b := append([]byte{'s', 1}, packed(text+strings.Repeat("0", 8000))...)
			_, err := inventory.DecodeShard(number, b)
			wantError(t, "DecodeShard()", err, inventory.ErrRecord, "damaged")
		})
	}
}
