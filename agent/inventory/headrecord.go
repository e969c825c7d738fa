package inventory

import "fmt"

// EncodeHead writes a head, the same head always as the same bytes. Epochs of
// shards are told by their distance from the head's: when all shards change
// equally often, most are near the number of shards. Errors wrap ErrHead.
func EncodeHead(h Head) ([]byte, error) {
	if err := checkHead(h); err != nil {
		return nil, fmt.Errorf("encode head at epoch %d: %w", h.Epoch, err)
	}
	w := newRecord(kindHead)
	w.number(fromEpoch(h.Epoch), scalar)
	w.number(int64(h.Names), scalar)
	ages := make([]int64, Shards)
	for n, epoch := range h.Shards {
		ages[n] = fromEpoch(h.Epoch - epoch)
	}
	w.column(ages)
	b, err := w.finish()
	if err != nil {
		return nil, fmt.Errorf("encode head at epoch %d: %w", h.Epoch, err)
	}
	return b, nil
}

// DecodeHead reads what EncodeHead wrote and nothing else. Errors wrap
// ErrSchema for a schema of another version, else ErrRecord (with ErrHead
// when the head itself is wrong).
func DecodeHead(b []byte) (Head, error) {
	h, err := decodeHead(b)
	if err != nil {
		return Head{}, fmt.Errorf("decode head: %w", err)
	}
	return h, nil
}

func decodeHead(b []byte) (Head, error) {
	r, err := openRecord(b, kindHead)
	if err != nil {
		return Head{}, err
	}
	h := Head{Epoch: toEpoch(r.number(scalar)), Names: r.small(Shards * MaxEntries)}
	ages, k := r.ordered(Shards)
	if r.bad {
		return Head{}, fmt.Errorf("%w: it is cut or damaged", ErrRecord)
	}
	for n, age := range ages {
		h.Shards[n] = h.Epoch - toEpoch(age)
	}
	if err := checkHead(h); err != nil {
		return Head{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	// A number has one code for each order, so nothing else can be written in two ways.
	if k != order(ages) || !r.ended() {
		return Head{}, fmt.Errorf("%w: not in canonical form", ErrRecord)
	}
	return h, nil
}
