package inventory

import (
	"cmp"
	"slices"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// alphabet has every character of a stored name. Three of forty fit into 16
// bits, as 64,000 is less than 65,536.
const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789-_.*"

// groupBits are the bits for 0 to 3 characters.
var groupBits = [...]int{0, 6, 11, 16}

// putNames writes names that are sorted by byTail. Each is told by how much
// of its end it shares with the one before and by the characters in front of
// that: names differ in front and agree in their domains.
func (w *bitWriter) putNames(names []string) {
	shared, rest := make([]int64, len(names)), make([]int64, len(names))
	last := ""
	for i, name := range names {
		n := commonTail(last, name)
		shared[i], rest[i] = int64(n), int64(len(name)-n)
		last = name
	}
	w.column(shared)
	w.column(rest)
	for i, name := range names {
		w.putCharacters(name[:rest[i]])
	}
}

func (w *bitWriter) putCharacters(s string) {
	for group := range slices.Chunk([]byte(s), 3) {
		v := 0
		for _, c := range group {
			v = v*len(alphabet) + strings.IndexByte(alphabet, c)
		}
		w.put(int64(v), groupBits[len(group)])
	}
}

// names reads n names; it has fewer if the reader is bad.
func (r *bitReader) names(n int) []string {
	shared, rest := r.column(n), r.column(n)
	var names []string
	last := ""
	for i := range n {
		if r.bad || shared[i] > int64(len(last)) || shared[i]+rest[i] > fleet.MaxDomain {
			r.bad = true
			return nil
		}
		last = r.characters(int(rest[i])) + last[len(last)-int(shared[i]):]
		names = append(names, last)
	}
	return names
}

func (r *bitReader) characters(n int) string {
	b := make([]byte, n)
	for group := range slices.Chunk(b, 3) {
		v := int(r.get(groupBits[len(group)]))
		for i := len(group) - 1; i >= 0; i-- {
			group[i] = alphabet[v%len(alphabet)]
			v /= len(alphabet)
		}
	}
	return string(b)
}

// byTail compares names from their ends.
func byTail(a, b string) int {
	n := commonTail(a, b)
	if n == len(a) || n == len(b) {
		return cmp.Compare(len(a), len(b))
	}
	return cmp.Compare(a[len(a)-1-n], b[len(b)-1-n])
}

func commonTail(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[len(a)-1-n] == b[len(b)-1-n] {
		n++
	}
	return n
}
