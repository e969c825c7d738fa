package testkit

import (
	"bytes"
	"sync"

	"github.com/hashicorp/go-hclog"
)

// Logger writes every level to the log of tb, until tb ends.
func Logger(tb TB) hclog.Logger {
	tb.Helper()
	w := &logWriter{tb: tb}
	tb.Cleanup(w.close)
	return hclog.New(&hclog.LoggerOptions{Name: tb.Name(), Level: hclog.Trace, Output: w})
}

// logWriter drops what comes after the end of tb: logging then would panic.
type logWriter struct {
	mu     sync.Mutex
	tb     TB
	closed bool
}

// Write implements io.Writer.
func (w *logWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.tb.Logf("%s", bytes.TrimRight(line, "\n"))
	}
	return len(line), nil
}

func (w *logWriter) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
}
