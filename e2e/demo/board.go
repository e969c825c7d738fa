package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"os"
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
	certs   lab.Counts // handshakes for names of the inventory
	asked   lab.Counts // requests to the site: Full or Broken
	leaves  []string   // by node: serial number shown for shop
	broken  error      // the first
	task    string     // progress of what goes on, if it has any
	drawn   int        // lines of the table on the screen
}

func newBoard() *board {
	return &board{out: os.Stdout, live: term.IsTerminal(int(os.Stdout.Fd())), started: time.Now()}
}

// record counts a connection.
func (b *board) record(a lab.Attempt) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.noteBroken(a)
	if a.Version == tls.VersionTLS12 {
		b.tls12.Add(a)
	} else {
		b.tls13.Add(a)
	}
}

// recordCert counts a handshake for a name of the inventory.
func (b *board) recordCert(a lab.Attempt) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.noteBroken(a)
	b.certs.Add(a)
}

// recordShop counts a handshake for shop with a node, or beyond the last node
// with the balancer.
func (b *board) recordShop(node int, a lab.Attempt) {
	b.recordCert(a)
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.leaves) <= node {
		b.leaves = append(b.leaves, "")
	}
	b.leaves[node] = a.Serial
}

// recordRequest counts a request to the site.
func (b *board) recordRequest(err error) {
	a := lab.Attempt{Outcome: lab.Full, Err: err}
	if err != nil {
		a.Outcome = lab.Broken
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.noteBroken(a)
	b.asked.Add(a)
}

// requests is how many requests to the site were sent, and how many failed.
func (b *board) requests() (sent, failed int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.asked.Full + b.asked.Broken, b.asked.Broken
}

func (b *board) noteBroken(a lab.Attempt) {
	if a.Outcome == lab.Broken && b.broken == nil {
		b.broken = a.Err
	}
}

// handshakes is what recordCert has counted.
func (b *board) handshakes() lab.Counts {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.certs
}

// doing shows progress until the next talk: in the table on a terminal, else
// as a line.
func (b *board) doing(line string) {
	if !b.live {
		b.say("%s", line)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	erase := b.erase()
	b.task = line
	b.print(erase + b.draw())
}

// say prints lines of talk above the table.
func (b *board) say(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.task = ""
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
	broken := b.tls12.Broken + b.tls13.Broken + b.certs.Broken
	b.print(fmt.Sprintf("\n%d resumptions kept, %d lost, %d connections broken, ring epoch %d,\n%d full handshakes for certificates, %d requests to the site, %d failed.\n",
		kept, lost, broken, b.status.Epoch, b.certs.Full, b.asked.Full+b.asked.Broken, b.asked.Broken))
	switch {
	case lost > 0:
		return fmt.Errorf("rotate ticket keys: %w: %d of %d", errLost, lost, kept+lost)
	case broken > 0:
		return fmt.Errorf("connect to the fleet: %d connections broken, the first: %w", broken, b.broken)
	case b.asked.Broken > 0:
		return fmt.Errorf("ask the site: %d requests failed, the first: %w", b.asked.Broken, b.broken)
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
