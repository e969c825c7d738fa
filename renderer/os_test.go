package renderer

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/probe"
	"github.com/tlsfleet/tlsfleet/agent/ticket"
)

const hup = syscall.SIGHUP

// listenOn takes a port of this process, so that nginx cannot have it.
func listenOn(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close listener: %v", err)
		}
	})
	return l.Addr().String()
}

// crashEnv makes the test binary an agent that kills itself.
const crashEnv = "TLSFLEET_TEST_CRASH"

// crash tells the child what to apply and after which step to die.
type crash struct {
	Step     string
	Config   crashConfig
	RingFile string
}

// crashConfig is Config without what cannot be written as JSON.
type crashConfig struct {
	Binary, ConfigFile, PIDFile, StateDir, RunDir, ReleaseAddress string
	VerifyTimeout                                                 time.Duration
}

func TestMain(m *testing.M) {
	if text := os.Getenv(crashEnv); text != "" {
		fmt.Fprintln(os.Stderr, applyAndDie(text))
		os.Exit(3)
	}
	os.Exit(m.Run())
}

// applyAndDie returns only if the process was not killed.
func applyAndDie(text string) error {
	var c crash
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	raw, err := os.ReadFile(c.RingFile)
	if err != nil {
		return err
	}
	ring, err := ticket.Decode(raw)
	if err != nil {
		return err
	}
	r, err := New(Config{
		Binary: c.Config.Binary, ConfigFile: c.Config.ConfigFile, PIDFile: c.Config.PIDFile,
		StateDir: c.Config.StateDir, RunDir: c.Config.RunDir, ReleaseAddress: c.Config.ReleaseAddress,
		VerifyTimeout: c.Config.VerifyTimeout,
		OnStep: func(step string) {
			if step == c.Step {
				if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
					panic(err)
				}
			}
		},
	}, &probe.Prober{})
	if err != nil {
		return err
	}
	o, err := r.Apply(context.Background(), ringRelease(ring))
	return fmt.Errorf("not killed at %s: %+v, %w", c.Step, o, err)
}

// holdConnection keeps a request on a TLS connection unfinished, so that the
// worker that has it does not end.
func holdConnection(t *testing.T, address string) {
	t.Helper()
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // a self-signed test server
	conn, err := d.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a.test\r\n"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The worker may have been ended before.
		if err := conn.Close(); err != nil {
			t.Logf("close held connection: %v", err)
		}
	})
}
