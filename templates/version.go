package templates

import (
	"strconv"
	"strings"
)

// AtLeast compares a version of nginx such as "1.22.1" number by number. An
// unknown version counts as an old one.
func AtLeast(version string, want ...int) bool {
	parts := strings.Split(version, ".")
	for i, w := range want {
		if i >= len(parts) {
			return false
		}
		n, err := strconv.Atoi(parts[i])
		if err != nil || n < w {
			return false
		}
		if n > w {
			return true
		}
	}
	return true
}
