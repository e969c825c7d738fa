package site

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	second = Duration(time.Second)
	hour   = Duration(time.Hour)
)

// Duration is a time.Duration that is written as "90s" or "1h30m".
type Duration time.Duration

// String has no zero units: 1h, not 1h0m0s.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what time.ParseDuration does.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%.40q is not a duration", text)
	}
	*d = Duration(v)
	return nil
}

// Size is a number of bytes that is written as "512", "64k", "10m" or "1g", in
// powers of 1024, as nginx does.
type Size int64

const sizeUnits = "kmg"

// String is the shortest way to write it.
func (s Size) String() string {
	unit := ""
	for _, u := range sizeUnits {
		if s == 0 || s%1024 != 0 {
			break
		}
		s, unit = s/1024, string(u)
	}
	return strconv.FormatInt(int64(s), 10) + unit
}

// MarshalText implements encoding.TextMarshaler.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads digits and at most one unit, in upper or lower case.
func (s *Size) UnmarshalText(text []byte) error {
	digits, shift := strings.ToLower(string(text)), 0
	if n := len(digits) - 1; n > 0 {
		if i := strings.IndexByte(sizeUnits, digits[n]); i >= 0 {
			digits, shift = digits[:n], 10*(i+1)
		}
	}
	v, err := strconv.ParseUint(digits, 10, 32)
	if err != nil {
		return fmt.Errorf("%.40q is not a size", text)
	}
	*s = Size(v) << shift
	return nil
}
