package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// lookEvery is how exact the times of reloads are: nginx's log has seconds.
const lookEvery = 3 * time.Millisecond

// What nginx logs when it has got the signal, and when its old worker has
// stopped accepting. A reload that it refused does not have the second.
var (
	signalled = []byte("signal 1 (SIGHUP) received")
	replaced  = []byte("gracefully shutting down")
)

// span is the time in which a node was reloading.
type span struct {
	node     int
	from, to time.Time
}

// follow notes when each node of the fleet reloads, until ctx ends.
func follow(ctx context.Context, f *lab.Fleet) (spans []span, err error) {
	logs := make([]*tail, len(f.Nodes))
	for i, n := range f.Nodes {
		if logs[i], err = openTail(n.Nginx.ErrorLogFile); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, logs[i].file.Close()) }()
	}
	began := make([]time.Time, len(logs))
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		now := time.Now()
		for i, l := range logs {
			lines, err := l.lines()
			if err != nil {
				return nil, fmt.Errorf("follow reloads of %s: %w", f.Nodes[i].Name, err)
			}
			for line := range bytes.Lines(lines) {
				switch {
				case bytes.Contains(line, signalled) && began[i].IsZero():
					began[i] = now
				case bytes.Contains(line, replaced):
					if began[i].IsZero() {
						began[i] = now // for the signal of before
					}
					spans = append(spans, span{i, began[i], now})
					began[i] = time.Time{}
				}
			}
		}
		select {
		case <-ctx.Done():
			return spans, nil
		case <-tick.C:
		}
	}
}

// tail reads what is added to a file.
type tail struct {
	file *os.File
	rest []byte
}

func openTail(path string) (*tail, error) {
	f, err := os.Open(path) //nolint:gosec // our own
	if err != nil {
		return nil, fmt.Errorf("follow reloads: %w", err)
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return nil, errors.Join(fmt.Errorf("follow reloads: %w", err), f.Close())
	}
	return &tail{file: f}, nil
}

// lines is the whole lines that were added since the last call.
func (t *tail) lines() ([]byte, error) {
	more, err := io.ReadAll(t.file)
	if err != nil {
		return nil, err
	}
	text := append(t.rest, more...)
	end := bytes.LastIndexByte(text, '\n') + 1
	t.rest = slices.Clone(text[end:])
	return text[:end], nil
}

// reloadsOf is how often each of so many nodes has reloaded.
func reloadsOf(spans []span, nodes int) []int {
	counts := make([]int, nodes)
	for _, s := range spans {
		counts[s.node]++
	}
	return counts
}

// together is how many nodes have reloaded at the same time, at most.
func together(spans []span) int {
	most := 0
	for _, at := range spans {
		// The most are at work at the beginning of one of them.
		nodes := map[int]bool{at.node: true}
		for _, s := range spans {
			if !s.from.After(at.from) && s.to.After(at.from) {
				nodes[s.node] = true
			}
		}
		most = max(most, len(nodes))
	}
	return most
}
