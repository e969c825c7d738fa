package status_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/status"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/handlers"
)

// node is what an agent shows and takes.
type node struct {
	taken chan []fleet.Event
	err   error

	shelf
	desk
}

func (n *node) Report() fleet.Report { return fleet.Report{Node: "n1", Applied: 7} }

func (n *node) Accept(events []fleet.Event) error {
	if n.err == nil {
		n.taken <- events
	}
	return n.err
}

// serve answers for n until the test ends, and returns the socket.
func serve(t *testing.T, path string, n *node) *status.Client {
	t.Helper()
	return serveAll(t, path, "", n, n)
}

// serveGroup is serve for a group.
func serveGroup(t *testing.T, path, group string, n *node) {
	t.Helper()
	serveAll(t, path, group, n, n)
}

// serveDesk answers for d.
func serveDesk(t *testing.T, path string, d status.Domains) {
	t.Helper()
	serveAll(t, path, "", &node{}, d)
}

func serveAll(t *testing.T, path, group string, n *node, d status.Domains) *status.Client {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- status.Serve(ctx, path, group, n, n, n, d) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve() = %v, want nil when the context ends", err)
		}
	})
	c := status.NewClient(path)
	testkit.Eventually(t, 50*time.Second, "the socket to answer", func() error {
		_, err := c.Report(t.Context())
		return err
	})
	return c
}

func TestClientReadsTheReport(t *testing.T) {
	c := serve(t, filepath.Join(t.TempDir(), "s"), &node{})
	if r, err := c.Report(t.Context()); err != nil || r.Node != "n1" || r.Applied != 7 {
		t.Errorf("Report() = %+v, %v, want that of n1 at epoch 7", r, err)
	}
}

func TestClientHandsEventsOver(t *testing.T) {
	n := &node{taken: make(chan []fleet.Event, 1)}
	c := serve(t, filepath.Join(t.TempDir(), "s"), n)
	if err := c.HandOver(t.Context(), []byte(`[{"ID":"a","Name":"b","LTime":3}]`)); err != nil {
		t.Fatal(err)
	}
	if got := <-n.taken; len(got) != 1 || got[0].ID != "a" || got[0].LTime != 3 {
		t.Errorf("Accept() got %+v, want the event", got)
	}
}

func TestHandOverIsRefused(t *testing.T) {
	tests := map[string]struct {
		input []byte
		err   error
		want  string
	}{
		"not a list":     {[]byte("{}"), nil, "not the input of a consul event watch"},
		"too long":       {bytes.Repeat([]byte(" "), handlers.MaxWatchInput+1), nil, "too large"},
		"agent refuses":  {[]byte("[]"), errors.New("shutting down"), "shutting down"},
		"nothing at all": {nil, nil, "it is empty"},
		"two lists":      {[]byte("[][]"), nil, "follows"},
		"events unnamed": {[]byte(`[{"ID":"a"}]`), nil, "no Name"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := serve(t, filepath.Join(t.TempDir(), "s"), &node{taken: make(chan []fleet.Event, 1), err: tt.err})
			if err := c.HandOver(t.Context(), tt.input); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("HandOver() = %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestServeKeepsTheSocketToItsOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	serve(t, path, &node{})
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o660 {
		t.Errorf("socket mode = %o, want 660", got)
	}
}

func TestServeReplacesTheSocketOfADeadAgent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) //nolint:errcheck,forcetypeassert // a unix listener
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	serve(t, path, &node{})
}

func TestServeRemovesNothingButSockets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := status.Serve(t.Context(), path, "", &node{}, &node{}, &node{}, &node{}); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("Serve() = %v, want a refusal", err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "x" {
		t.Errorf("the file = %q, %v, want it untouched", data, err)
	}
}

func TestCheckFindsWhatServeWouldFailOn(t *testing.T) {
	dir := t.TempDir()
	tests := map[string]struct {
		path, group, want string
	}{
		"sound":         {filepath.Join(dir, "s"), "", ""},
		"a real group":  {filepath.Join(dir, "s"), "root", ""},
		"no folder":     {filepath.Join(dir, "none", "s"), "", "no such file"},
		"unknown group": {filepath.Join(dir, "s"), "no-such-group", "no-such-group"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := status.Check(tt.path, tt.group)
			if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Check() = %v, want %q", err, tt.want)
			}
		})
	}
}
