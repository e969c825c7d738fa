package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// ago says how long before now t was: "12s ago"; "-" for the zero time.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	if d := now.Sub(t); d >= 0 {
		return brief(d) + " ago"
	}
	return "in the future"
}

// in says how long after now t is.
func in(t, now time.Time) string {
	if d := t.Sub(now); d > 0 {
		return "in " + brief(d)
	}
	return "due"
}

func brief(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%dd", int(d.Hours())/24)
	}
}

func printLines(w io.Writer, lines ...string) error {
	if len(lines) == 0 {
		return nil
	}
	_, err := io.WriteString(w, strings.Join(lines, "\n")+"\n")
	return err
}
