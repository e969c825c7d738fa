package main

import (
	"fmt"
	"io"
	"time"
)

// A live line is written at most every refresh; without a terminal a count
// below small says nothing.
const (
	refresh = 100 * time.Millisecond
	small   = 100
)

// counter shows how many are done: one live line on a terminal, else a line
// for each tenth.
type counter struct {
	progress
	format string // of done and total
	next   time.Time
	tenth  int
}

func newCounter(out io.Writer, format string) *counter {
	return &counter{progress: *newProgress(out), format: format}
}

func (c *counter) show(done, total int) {
	line := fmt.Sprintf(c.format, done, total)
	switch now := time.Now(); {
	case c.live && (done == total || now.After(c.next)):
		c.next = now.Add(refresh)
		c.last = line
		c.write("\r\x1b[K" + line)
	case !c.live && total >= small && 10*done/total > c.tenth:
		c.tenth = 10 * done / total
		c.write(line + "\n")
	}
}
