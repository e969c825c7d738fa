package archive

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// MaxObject is the largest object in bytes that is read back.
const MaxObject = 1 << 20

// Errors that callers branch on.
var (
	// ErrMissing means that an archive vouches for having no such object.
	ErrMissing = errors.New("no such object in the archive")
	// ErrName is a name that no object may have.
	ErrName = errors.New("not a name of an object")
)

// Archive stores objects by name. Its methods may be called concurrently.
type Archive interface {
	// Put stores an object, in place of one with that name, whole or not at all.
	// When it returns nil the object survives a crash.
	Put(ctx context.Context, name string, data []byte) error
	// Get reads an object. ErrMissing if there is none.
	Get(ctx context.Context, name string) ([]byte, error)
	// List calls each with every object whose name begins with prefix, in any order.
	List(ctx context.Context, prefix string, each func(Object)) error
	// Delete removes an object; one that is not there is fine.
	Delete(ctx context.Context, name string) error
	// Close releases connections.
	Close()
}

// Object is what a listing says of an object.
type Object struct {
	Name     string
	Modified time.Time // by the clock of the archive
}

// CheckName refuses names that could lead out of the archive: they consist of
// parts of letters, digits, '.', '-' and '_', none of which begins with a dot.
func CheckName(name string) error {
	if len(name) > 300 {
		return fmt.Errorf("%w: %.80q is longer than 300 bytes", ErrName, name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part[0] == '.' || strings.ContainsFunc(part, strange) {
			return fmt.Errorf("%w: %q", ErrName, name)
		}
	}
	return nil
}

func strange(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '-' && r != '_'
}
