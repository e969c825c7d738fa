package inventory

import (
	"encoding/binary"
	"math/bits"
)

// maxValue is the largest number in a record. None is negative.
const maxValue = 1<<62 - 1

// orderBits are the bits of a column's parameter k.
const orderBits = 6

const (
	maxPut  = 62 // bits of a number that is written at once
	maxPeek = 57 // bits of 8 bytes, wherever in the first of them they begin
)

// scalar is the parameter k of numbers that stand alone.
const scalar = 6

// bitWriter appends bits, the highest first. The last byte is filled up with
// zeros.
type bitWriter struct {
	b    []byte
	free int // unused bits of the last byte
}

// put writes the lowest width bits of v.
func (w *bitWriter) put(v int64, width int) {
	for width > 0 {
		if w.free == 0 {
			w.b = append(w.b, 0)
			w.free = 8
		}
		n := min(width, w.free)
		width -= n
		w.free -= n
		w.b[len(w.b)-1] |= byte(v>>width&(1<<n-1)&0xff) << w.free
	}
}

// putBytes fills up the last byte and appends whole ones.
func (w *bitWriter) putBytes(b []byte) { w.b, w.free = append(w.b, b...), 0 }

// number writes v, at most maxValue, as an exponential Golomb code of order
// k: good for numbers near 2^k, and of bounded length for all others.
func (w *bitWriter) number(v int64, k int) {
	x := v>>k + 1
	n := length(x)
	if width := 2*n - 1 + k; width <= maxPut {
		w.put(x<<k|v&(1<<k-1), width)
		return
	}
	w.put(0, n-1)
	w.put(x, n)
	w.put(v, k)
}

// column writes numbers of one kind with the order that is shortest for them.
func (w *bitWriter) column(vs []int64) {
	k := order(vs)
	w.put(int64(k), orderBits)
	for _, v := range vs {
		w.number(v, k)
	}
}

// order is the lowest k that makes the codes of vs shortest.
func order(vs []int64) int {
	var all int64
	for _, v := range vs {
		all |= v
	}
	best, least := 0, 0
	for k := range length(all) + 1 {
		size := len(vs) * k
		if k > 0 && size+len(vs) >= least {
			break // each code has a bit more than k, at least
		}
		for _, v := range vs {
			size += 2*length(v>>k+1) - 1
		}
		if k == 0 || size < least {
			best, least = k, size
		}
	}
	return best
}

// length is the number of bits of v.
func length(v int64) int {
	return bits.Len64(uint64(v)) //nolint:gosec // not negative
}

// bitReader reads what bitWriter wrote. After a read beyond the end, or of a
// code that is none, it is bad, and all it reads is 0.
type bitReader struct {
	b   []byte
	pos int // in bits
	bad bool
}

func (r *bitReader) get(width int) int64 {
	if r.bad || r.pos+width > 8*len(r.b) {
		r.bad = true
		return 0
	}
	if width <= maxPeek {
		if window, ok := r.peek(); ok {
			r.pos += width
			return int64(window >> (64 - width)) //nolint:gosec // fewer bits
		}
	}
	var v int64
	for width > 0 {
		left := 8 - r.pos%8
		n := min(width, left)
		v = v<<n | int64(r.b[r.pos/8])>>(left-n)&(1<<n-1)
		r.pos += n
		width -= n
	}
	return v
}

// getBytes is the next size whole bytes, for reading only.
func (r *bitReader) getBytes(size int) []byte {
	start := (r.pos + 7) / 8
	if r.bad || start+size > len(r.b) {
		r.bad = true
		return nil
	}
	r.pos = 8 * (start + size)
	return r.b[start:][:size]
}

// peek is the next bits, of which maxPeek are told for sure; false near the end.
func (r *bitReader) peek() (window uint64, ok bool) {
	at := r.pos / 8
	if at+8 > len(r.b) {
		return 0, false
	}
	return binary.BigEndian.Uint64(r.b[at:]) << (r.pos % 8), true
}

func (r *bitReader) number(k int) int64 {
	zeros := 0
	if window, ok := r.peek(); ok && !r.bad {
		zeros = min(bits.LeadingZeros64(window), maxPeek)
		if width := 2*zeros + 1 + k; width <= maxPeek { // all of it is in the window
			r.pos += width
			return int64(window>>(64-width)) - 1<<k //nolint:gosec // fewer bits
		}
		r.pos += zeros
	}
	for r.get(1) == 0 {
		if zeros++; r.bad || zeros > 62 {
			r.bad = true
			return 0
		}
	}
	x := int64(1)<<zeros | r.get(zeros)
	if x-1 > maxValue>>k {
		r.bad = true
		return 0
	}
	return (x-1)<<k | r.get(k)
}

// small reads a number that is at most limit.
func (r *bitReader) small(limit int) int {
	v := r.number(scalar)
	if v > int64(limit) {
		r.bad = true
		return 0
	}
	return int(v)
}

// column reads n numbers; it has fewer if it is bad.
func (r *bitReader) column(n int) []int64 {
	vs, _ := r.ordered(n)
	return vs
}

// ordered is column with the order in which they are written.
func (r *bitReader) ordered(n int) (vs []int64, k int) {
	k = int(r.get(orderBits))
	r.bad = r.bad || k > length(maxValue)
	vs = make([]int64, 0, min(n, 8*len(r.b))) // none is shorter than a bit
	for len(vs) < n && !r.bad {
		vs = append(vs, r.number(k))
	}
	return vs, k
}

// ended reports whether nothing but the zeros that fill up the last byte is left.
func (r *bitReader) ended() bool {
	left := 8*len(r.b) - r.pos
	return !r.bad && left < 8 && r.get(left) == 0
}
