package bundle

import (
	"errors"
	"fmt"
)

// ErrBundle is what every refusal of a certificate, chain or key wraps.
var ErrBundle = errors.New("not a usable certificate")

// Why a bundle is refused. Each wraps ErrBundle.
var (
	ErrFormat       = fmt.Errorf("%w: cannot be read", ErrBundle)
	ErrPassword     = fmt.Errorf("%w: wrong password", ErrBundle)
	ErrKey          = fmt.Errorf("%w: no usable key", ErrBundle)
	ErrEncryptedKey = fmt.Errorf("%w: the key is encrypted", ErrBundle)
	ErrKeyMismatch  = fmt.Errorf("%w: the key belongs to another certificate", ErrBundle)
	ErrWeakKey      = fmt.Errorf("%w: too weak", ErrBundle)
	ErrKeyKind      = fmt.Errorf("%w: a kind of key that browsers do not take", ErrBundle)
	ErrLeaf         = fmt.Errorf("%w: not one server certificate", ErrBundle)
	ErrChain        = fmt.Errorf("%w: wrong chain", ErrBundle)
	ErrSelfSigned   = fmt.Errorf("%w: self-signed", ErrBundle)
	ErrExpired      = fmt.Errorf("%w: expired", ErrBundle)
	ErrNotYetValid  = fmt.Errorf("%w: not yet valid", ErrBundle)
	ErrNames        = fmt.Errorf("%w: wrong names", ErrBundle)
	ErrSize         = fmt.Errorf("%w: too large", ErrBundle)
)

// Why the bytes of a record are refused.
var (
	// ErrRecord: not what Encode or EncodeChain writes.
	ErrRecord = errors.New("not a bundle or chain record")
	// ErrSchema: written in a schema that this version does not know.
	ErrSchema = errors.New("bundle or chain record of an unknown schema")
)
