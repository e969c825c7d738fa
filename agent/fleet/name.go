package fleet

import (
	"errors"
	"fmt"
)

// ErrName is returned for a fleet or node name that cannot be used.
var ErrName = errors.New("not a usable name")

// maxName is the longest fleet or node name in bytes: one DNS label.
const maxName = 63

// CheckName refuses what cannot be one segment of a KV path and of a file
// path: a name is 1 to 63 of a-z, A-Z, 0-9, '.', '_' and '-', and starts with
// a letter or a digit. The error wraps ErrName.
func CheckName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("%w: %q has %d characters, want 1 to %d", ErrName, name, len(name), maxName)
	}
	for i := range len(name) {
		c := name[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || c != '.' && c != '_' && c != '-') {
			return fmt.Errorf("%w: %q has %q at %d, want letters, digits, '.', '_', '-'", ErrName, name, c, i)
		}
	}
	return nil
}
