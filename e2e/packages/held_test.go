package packages

import (
	"bufio"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// held is a TLS connection to nginx in a machine.
type held struct {
	in  io.WriteCloser
	out *bufio.Reader
}

// hold opens a connection that has been answered on, so that the worker has it.
func hold(t *testing.T, m *machine) *held {
	t.Helper()
	cmd, err := m.command("openssl", "s_client", "-quiet", "-connect", "127.0.0.1:443", "-servername", "own.test")
	if err != nil {
		t.Fatal(err)
	}
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := errors.Join(cmd.Process.Kill(), cmd.Wait())
		var ended *exec.ExitError
		if err != nil && !errors.As(err, &ended) {
			t.Logf("end connection: %v", err)
		}
	})
	return (&held{in, bufio.NewReader(out)}).begin(t)
}

func (c *held) begin(t *testing.T) *held {
	t.Helper()
	// A request that stays open: nginx waits for the rest of its header.
	if _, err := io.WriteString(c.in, "GET / HTTP/1.1\r\nHost: own.test\r\n"); err != nil {
		t.Fatal(err)
	}
	return c
}

// ask ends the request and reads the answer.
func (c *held) ask() (string, error) {
	if _, err := io.WriteString(c.in, "Connection: close\r\n\r\n"); err != nil {
		return "", err
	}
	text, err := io.ReadAll(c.out)
	if err == nil && !strings.HasPrefix(string(text), "HTTP/1.1 200") {
		err = errors.New("no answer")
	}
	return string(text), err
}
