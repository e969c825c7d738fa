package renderer

import (
	"strconv"
	"time"
)

// defaultSessionTimeout is nginx's ssl_session_timeout when none is set.
const defaultSessionTimeout = 5 * time.Minute

// sessionTimeout reads the argument of ssl_session_timeout.
func sessionTimeout(text string) time.Duration {
	if d, ok := parseTime(text); ok {
		return d
	}
	return defaultSessionTimeout
}

var timeUnits = map[string]time.Duration{
	"": time.Second, "s": time.Second, "m": time.Minute, "h": time.Hour,
	"d": 24 * time.Hour, "w": 7 * 24 * time.Hour, "M": 30 * 24 * time.Hour, "y": 365 * 24 * time.Hour,
}

// parseTime reads a time as nginx writes it: "300", "10m", "1h 30m", "1h30m".
func parseTime(text string) (time.Duration, bool) {
	var sum time.Duration
	if text == "" {
		return 0, false
	}
	for len(text) > 0 {
		if text[0] == ' ' {
			text = text[1:]
			continue
		}
		digits := span(text, func(c byte) bool { return c >= '0' && c <= '9' })
		n, err := strconv.ParseInt(text[:digits], 10, 32)
		if err != nil {
			return 0, false
		}
		text = text[digits:]
		letters := span(text, func(c byte) bool { return c >= 'A' && c <= 'z' })
		unit, ok := timeUnits[text[:letters]]
		if !ok {
			return 0, false
		}
		text = text[letters:]
		sum += time.Duration(n) * unit
	}
	return sum, true
}

func span(s string, in func(byte) bool) int {
	i := 0
	for i < len(s) && in(s[i]) {
		i++
	}
	return i
}
