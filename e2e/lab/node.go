package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// Node is one nginx of the fleet, with one worker.
type Node struct {
	Name  string
	Nginx *testkit.Nginx

	mu      sync.Mutex
	read    int64 // bytes of the error log already searched
	reloads int
}

// replaced is what an nginx worker logs when the next generation has taken
// over and it stops accepting. A reload that nginx refused does not log it.
var replaced = []byte("gracefully shutting down")

// Reloads is how often nginx has replaced its worker since it started.
func (n *Node) Reloads() (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	text, err := readFrom(n.Nginx.ErrorLogFile, n.read)
	if err != nil {
		return 0, fmt.Errorf("count reloads of %s: %w", n.Name, err)
	}
	whole := text[:bytes.LastIndexByte(text, '\n')+1]
	n.read += int64(len(whole))
	n.reloads += bytes.Count(whole, replaced)
	return n.reloads, nil
}

func readFrom(file string, offset int64) (text []byte, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(f)
}

// WriteConfig puts a file into the folder that the configuration of nginx
// includes, <StateDir>/nginx/current, for fleets that no agent looks after.
func (n *Node) WriteConfig(name, text string) error {
	dir := filepath.Join(n.Nginx.StateDir, "nginx", "current")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("write configuration of %s: %w", n.Name, err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		return fmt.Errorf("write configuration of %s: %w", n.Name, err)
	}
	return nil
}
