package renderer

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

const swapEnv = "TLSFLEET_TEST_SWAP" // configuration of an agent that swaps until it is killed

// TestKilledWhileSwapping kills agents at any moment: at no time may a name
// be without a complete certificate, and the next agent cleans up.
func TestKilledWhileSwapping(t *testing.T) {
	t.Parallel()
	if text := os.Getenv(swapEnv); text != "" {
		swapUntilKilled(t, text)
	}
	g := newTLSRig(t, testkit.NginxOptions{})
	g.put(t, "a.test", "*.w.test")
	g.serve(t, g.servers(NamesOpen, "*.w.test"))
	text, err := json.Marshal(crashConfig{
		Binary: g.cfg.Binary, ConfigFile: g.cfg.ConfigFile, PIDFile: g.cfg.PIDFile,
		StateDir: g.cfg.StateDir, RunDir: g.cfg.RunDir, ReleaseAddress: g.cfg.ReleaseAddress,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	halves := 0
	for round := range 15 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(200+rand.IntN(200))*time.Millisecond)
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestKilledWhileSwapping$")
		cmd.Env = append(os.Environ(), swapEnv+"="+string(text))
		out, err := cmd.CombinedOutput()
		cancel()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.String() != "signal: killed" {
			t.Fatalf("round %d: run agent: %v, want it killed\n%s", round, err, out)
		}
		for _, folder := range []string{"a.test", "+.w.test"} {
			dir := filepath.Join(g.cfg.liveDir(), folder)
			if _, err := tls.LoadX509KeyPair(filepath.Join(dir, fullchainFile), filepath.Join(dir, privkeyFile)); err != nil {
				t.Errorf("round %d: %v", round, err)
			}
			wantAccess(t, filepath.Join(dir, privkeyFile), 0o640, wwwData)
		}
		for _, sni := range []string{"a.test", "x.w.test"} {
			if err := handshake(g.addr, sni); err != nil {
				t.Errorf("round %d: handshake for %s: %v", round, sni, err)
			}
		}
		for _, dir := range []string{g.cfg.storeDir(), g.cfg.liveDir(), g.cfg.inventoryDir()} {
			for _, name := range g.entries(t, dir) {
				if name[0] == '.' {
					halves++
				}
			}
		}
	}
	t.Logf("%d half-made entries were left", halves)
	g.Renderer = open(t, g.cfg)
	for _, dir := range []string{g.cfg.storeDir(), g.cfg.liveDir(), g.cfg.inventoryDir()} {
		for _, name := range g.entries(t, dir) {
			if name[0] == '.' {
				t.Errorf("New() leaves %s in %s", name, dir)
			}
		}
	}
	if live, err := g.Live(); err != nil || len(live) != 2 {
		t.Errorf("Live() = %v, %v, want two names", live, err)
	}
}

// swapUntilKilled renews certificates without an end.
func swapUntilKilled(t *testing.T, text string) {
	var c crashConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	r, err := New(Config{
		Binary: c.Binary, ConfigFile: c.ConfigFile, PIDFile: c.PIDFile, StateDir: c.StateDir, RunDir: c.RunDir, ReleaseAddress: c.ReleaseAddress,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for {
		flips := map[string]fleet.Hash{}
		for _, name := range []string{"a.test", "*.w.test"} {
			hash, b := newBundle(t, name)
			if err := r.PutBundle(hash, b); err != nil {
				t.Fatal(err)
			}
			flips[name] = hash
		}
		if err := r.SetLive(flips); err != nil {
			t.Fatal(err)
		}
		if _, err := r.CollectBundles(0); err != nil {
			t.Fatal(err)
		}
		if err := r.SaveInventory(map[string][]byte{inventoryHead: make([]byte, 4096)}); err != nil {
			t.Fatal(err)
		}
	}
}
