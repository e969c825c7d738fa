package bundle

import "fmt"

// What a record has besides its fields, and a field besides its bytes.
const (
	recordHead = 1 + 32
	fieldHead  = 4
)

// checkSize refuses a bundle that has no record.
func checkSize(b Bundle) error {
	switch {
	case len(b.Leaf) == 0:
		return fmt.Errorf("%w: no certificate", ErrFormat)
	case b.Key.Len() == 0:
		return fmt.Errorf("%w: it is empty", ErrKey)
	case b.Key.Len() > maxKey:
		return fmt.Errorf("%w: key of %d bytes, at most %d", ErrSize, b.Key.Len(), maxKey)
	}
	if n := recordHead + 2*fieldHead + len(b.Leaf) + b.Key.Len(); n > MaxRecord {
		return fmt.Errorf("%w: record of %d bytes, at most %d", ErrSize, n, MaxRecord)
	}
	return checkChainSize(b.Chain)
}

// checkChainSize refuses a chain that has no record; an empty one needs none.
func checkChainSize(chain [][]byte) error {
	if len(chain) > MaxChain {
		return fmt.Errorf("%w: %d issuers, at most %d", ErrChain, len(chain), MaxChain)
	}
	n := 1
	for _, der := range chain {
		if len(der) == 0 {
			return fmt.Errorf("%w: an empty certificate in it", ErrChain)
		}
		n += fieldHead + len(der)
	}
	if n > MaxChainRecord {
		return fmt.Errorf("%w: chain record of %d bytes, at most %d", ErrSize, n, MaxChainRecord)
	}
	return nil
}
