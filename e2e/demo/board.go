package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// board shows the fleet while the tour talks: on a terminal a table below the
// talk, drawn again in place; elsewhere a line per second.
type board struct {
	out     io.Writer
	live    bool // a terminal
	started time.Time

	mu      sync.Mutex
	status  lab.Status
	err     error // why status is not newer
	reloads []int
	tls12   lab.Counts
	tls13   lab.Counts
	broken  error // the first
	drawn   int   // lines of the table on the screen
}

func newBoard() *board {
	return &board{out: os.Stdout, live: term.IsTerminal(int(os.Stdout.Fd())), started: time.Now()}
}

// record counts a connection.
func (b *board) record(a lab.Attempt) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.Outcome == lab.Broken && b.broken == nil {
		b.broken = a.Err
	}
	if a.Version == tls.VersionTLS12 {
		b.tls12.Add(a)
	} else {
		b.tls13.Add(a)
	}
}

// say prints lines of talk above the table.
func (b *board) say(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := b.erase() + fmt.Sprintf(format, args...) + "\n"
	if b.drawn > 0 {
		text += b.draw()
	}
	b.print(text)
}

// run looks at the fleet every second and shows it until ctx ends.
func (b *board) run(ctx context.Context, s *stage) {
	for {
		status, err := s.agents.Status(ctx)
		reloads, reloadsErr := s.fleet.Reloads()
		if ctx.Err() != nil {
			return
		}
		b.show(status, reloads, err, reloadsErr)
		if sleep(ctx, time.Second) != nil {
			return
		}
	}
}

func (b *board) show(status lab.Status, reloads []int, errs ...error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = nil
	for _, err := range errs {
		if err != nil {
			b.err = err
		}
	}
	if b.err == nil {
		b.status, b.reloads = status, reloads
	}
	if b.live {
		b.print(b.erase() + b.draw())
		return
	}
	b.print(b.line())
}

// someKept is an error if no client has resumed with either TLS version: then
// nothing lost proves nothing.
func (b *board) someKept() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tls12.Resumed == 0 || b.tls13.Resumed == 0 {
		return fmt.Errorf("resume sessions: %d with TLS 1.2 and %d with TLS 1.3, want some of both", b.tls12.Resumed, b.tls13.Resumed)
	}
	return nil
}

// verdict prints what clients have seen and is errLost unless all was kept.
func (b *board) verdict() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	kept, lost := b.tls12.Resumed+b.tls13.Resumed, b.tls12.Lost+b.tls13.Lost
	broken := b.tls12.Broken + b.tls13.Broken
	b.print(fmt.Sprintf("\n%d resumptions kept, %d lost, %d connections broken, ring epoch %d.\n", kept, lost, broken, b.status.Epoch))
	switch {
	case lost > 0:
		return fmt.Errorf("rotate ticket keys: %w: %d of %d", errLost, lost, kept+lost)
	case broken > 0:
		return fmt.Errorf("connect to the fleet: %d connections broken, the first: %w", broken, b.broken)
	}
	return nil
}

func (b *board) print(text string) {
	if _, err := io.WriteString(b.out, text); err != nil {
		fmt.Fprintf(os.Stderr, "demo: print: %v\n", err)
	}
}

// erase is what removes the table from a terminal.
func (b *board) erase() string {
	if !b.live || b.drawn == 0 {
		return ""
	}
	return fmt.Sprintf("\x1b[%dA\x1b[J", b.drawn)
}

// draw is the table; it notes how many lines it has.
func (b *board) draw() string {
	if !b.live {
		return ""
	}
	var t strings.Builder
	rule := strings.Repeat("-", 66) + "\n"
	t.WriteString(rule)
	fmt.Fprintf(&t, "%-8s %-7s %6s %7s %8s  %-9s %8s\n", "node", "leader", "epoch", "proved", "release", "key", "reloads")
	for i, n := range b.status.Nodes {
		leader := ""
		if n.Leader {
			leader = "leader"
		}
		fmt.Fprintf(&t, "%-8s %-7s %6d %7d %8d  %-9s %8d\n", n.Node, leader, n.Report.Applied, n.Report.Proved, n.Report.Release, short(n.Key()), b.reloadsOf(i))
	}
	fmt.Fprintf(&t, "resumptions   TLS 1.2: %d kept, %d lost   TLS 1.3: %d kept, %d lost\n", b.tls12.Resumed, b.tls12.Lost, b.tls13.Resumed, b.tls13.Lost)
	fmt.Fprintf(&t, "ring epoch %d, proved on %d of %d, %s", b.status.Epoch, b.status.Proved, b.status.Serving, time.Since(b.started).Round(time.Second))
	if b.err != nil {
		t.WriteString(", status is old")
	}
	t.WriteString("\n" + rule)
	b.drawn = strings.Count(t.String(), "\n")
	return t.String()
}

// line is the table in one line.
func (b *board) line() string {
	var t strings.Builder
	fmt.Fprintf(&t, "%4.0fs epoch %d proved on %d/%d", time.Since(b.started).Seconds(), b.status.Epoch, b.status.Proved, b.status.Serving)
	for i, n := range b.status.Nodes {
		fmt.Fprintf(&t, " | %s epoch %d release %d key %s reloads %d", n.Node, n.Report.Applied, n.Report.Release, short(n.Key()), b.reloadsOf(i))
	}
	fmt.Fprintf(&t, " | kept %d lost %d\n", b.tls12.Resumed+b.tls13.Resumed, b.tls12.Lost+b.tls13.Lost)
	return t.String()
}

// reloadsOf is the count of the node in row i: both go by name in order.
func (b *board) reloadsOf(i int) int {
	if i >= len(b.reloads) {
		return 0
	}
	return b.reloads[i]
}

// short is the head of a key name.
func short(key string) string { return key[:min(len(key), 8)] }
