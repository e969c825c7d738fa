package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// hearAll is a service manager that notes what it is told.
func hearAll(t *testing.T) func() string {
	t.Helper()
	path := filepath.Join(testkit.TmpfsDir(t), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", path)
	var mu sync.Mutex
	var told strings.Builder
	done := make(chan struct{})
	go func() {
		defer close(done)
		for buf := make([]byte, 4096); ; {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			mu.Lock()
			told.Write(append(buf[:n:n], '\n'))
			mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return told.String()
	}
}

// TestANodeWaitsToBeAdmitted tells the service manager that it lives for as long as
// that takes, goes by a configuration that is mended meanwhile, and goes on with the
// keyring.
func TestANodeWaitsToBeAdmitted(t *testing.T) {
	told := hearAll(t)
	t.Setenv("WATCHDOG_USEC", "60000")
	g := newGrantee(t, nil)
	fleetName, dir, consul := testkit.FleetName(t), t.TempDir(), testkit.SharedConsul(t)
	path := filepath.Join(dir, "tlsfleet.hcl")
	write := func(operator string) {
		t.Helper()
		text := fmt.Sprintf("fleet = %q\nnode = \"n\"\nstate_dir = %q\nconsul {\n  address = %q\n}\nkeyring {\n  from = \"consul\"\n  operator = %q\n}\n",
			fleetName, g.cfg.StateDir, consul.Addr, operator)
		if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path)); err != nil {
			t.Fatal(err)
		}
	}
	write(newOperator(t).String()) // not the right one
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = loadKeyring(cfg)
	if advice, ok := Misconfigured(err); !ok || !strings.Contains(advice, "tlsfleet node init") {
		t.Errorf("loadKeyring() = %v, %q, want advice to have the node admitted", err, advice)
	}
	ring := newKeyring(t)
	st, err := store.Open(store.Config{Fleet: fleetName, Address: consul.Addr, Log: testkit.Logger(t)}, ring)
	if err != nil {
		t.Fatal(err)
	}

	type outcome struct {
		cfg      config.Config
		admitted bool
		err      error
	}
	ended := make(chan outcome, 1)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		cfg, admitted, err := awaitKeyring(ctx, path, cfg, nil, Options{Log: hclog.NewNullLogger()})
		ended <- outcome{cfg, admitted, err}
	}()
	testkit.Eventually(t, 20*time.Second, "signs of life", func() error {
		got := told()
		if !strings.Contains(got, "READY=1\nSTATUS=waiting to be admitted: tlsfleet node admit n age1") || strings.Count(got, "WATCHDOG=1") < 3 {
			return fmt.Errorf("told %q", got)
		}
		return nil
	})
	if err := st.PutGrant(t.Context(), "n", g.wrap(t, g.operator, func(r *seal.Grant) { r.Fleet = fleetName }, ring), 0); err != nil {
		t.Fatal(err)
	}
	write(g.operator.String())
	var got outcome
	select {
	case got = <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the node is not admitted after its configuration was mended")
	}
	if !got.admitted || got.err != nil || got.cfg.Keyring.Operator != g.operator.String() {
		t.Errorf("awaitKeyring() = %s, %t, %v, want it admitted by %s", got.cfg.Keyring.Operator, got.admitted, got.err, g.operator)
	}
	if kept, err := loadKeyring(got.cfg); err != nil || !kept.Marshal().Equal(ring.Marshal()) {
		t.Errorf("loadKeyring() = %v, %v, want %v", kept, err, ring)
	}

	if err := os.WriteFile(got.cfg.KeyringFile, []byte("tlsfleet-key-1 x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = loadKeyring(got.cfg)
	if advice, ok := Misconfigured(err); !ok || !strings.Contains(advice, "remove it, and the agent gets it from Consul again") {
		t.Errorf("loadKeyring() of a damaged one = %v, %q, want advice to remove it", err, advice)
	}
	if err := os.Remove(got.cfg.KeyringFile); err != nil {
		t.Fatal(err)
	}
	if _, admitted, err := awaitKeyring(ctx, path, got.cfg, nil, Options{Log: hclog.NewNullLogger()}); !admitted || err != nil {
		t.Errorf("awaitKeyring() after it was removed = %t, %v, want it again", admitted, err)
	}
}

// TestWaitingEndsWithTheProcess and says that there is no keyring.
func TestWaitingEndsWithTheProcess(t *testing.T) {
	t.Parallel()
	g := newGrantee(t, nil)
	g.cfg.Consul.Address = testkit.SharedConsul(t).Addr
	g.cfg.Fleet = testkit.FleetName(t)
	path := filepath.Join(t.TempDir(), "tlsfleet.hcl")
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, admitted, err := awaitKeyring(ctx, path, g.cfg, nil, Options{Log: hclog.NewNullLogger()}); admitted || err != nil {
		t.Errorf("awaitKeyring() = %t, %v, want false, nil", admitted, err)
	}
}
