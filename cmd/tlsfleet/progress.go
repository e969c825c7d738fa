package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/handlers"
)

// progress shows how far a wait is: one live line on a terminal, else one
// line for each change.
type progress struct {
	out  io.Writer
	live bool
	last string
}

func newProgress(out io.Writer) *progress { return &progress{out: out, live: isTerminal(out)} }

func (p *progress) show(g agent.Progress) {
	done := len(g.All) - len(g.Waiting)
	line := fmt.Sprintf("epoch %d: %d of %d nodes %s", g.Epoch, done, len(g.All), g.Goal)
	if len(g.Waiting) > 0 {
		line += ", waiting for " + strings.Join(handlers.Names(g.Waiting), " ")
	}
	p.line(line)
}

// line shows how far it is, unless that is what was shown last.
func (p *progress) line(line string) {
	if line == p.last {
		return
	}
	p.last = line
	if p.live {
		p.write("\r\x1b[K" + line)
		return
	}
	p.write(line + "\n")
}

// end leaves the live line behind.
func (p *progress) end() {
	if p.live && p.last != "" {
		p.write("\n")
	}
}

func (p *progress) write(s string) {
	if _, err := io.WriteString(p.out, s); err != nil {
		p.live = false // stderr is gone: progress is only a courtesy
	}
}
