package renderer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Bounds of what is taken from nginx's error log.
const (
	logBytes = 64 << 10
	logLines = 3
)

// errorLog is the main error log, as far as the configuration names a file.
func (c *config) errorLog() string {
	for _, d := range c.root() {
		if d.Directive.Directive == "error_log" && len(d.Args) > 0 && filepath.IsAbs(d.Args[0]) {
			return d.Args[0]
		}
	}
	return ""
}

// logEnd is the size of a log now; 0 if it cannot be told.
func logEnd(path string) int64 {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	return info.Size()
}

var fatalLine = regexp.MustCompile(`\[(?:emerg|alert|crit)\] \d+#\d+: (.*)`)

// logSince lists what nginx has logged of why it cannot go on, since the log
// ended at from, each message once.
func logSince(path string, from int64) (lines []string, err error) {
	f, err := os.Open(path) //nolint:gosec // nginx's own log
	if err != nil {
		return nil, fmt.Errorf("read nginx's error log: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	text, err := io.ReadAll(io.NewSectionReader(f, from, logBytes))
	if err != nil {
		return nil, fmt.Errorf("read nginx's error log: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		m := fatalLine.FindStringSubmatch(strings.TrimSpace(line))
		if m != nil && !slices.Contains(lines, m[1]) && len(lines) < logLines {
			lines = append(lines, m[1])
		}
	}
	return lines, nil
}
