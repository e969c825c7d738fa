package renderer

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/probe"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/agent/ticket"
)

// rig is a renderer with the nginx it manages.
type rig struct {
	*Renderer
	nginx *testkit.Nginx
}

func newRig(t testing.TB, o testkit.NginxOptions, change ...func(*Config)) *rig {
	t.Helper()
	n := testkit.NewNginx(t, o)
	cfg := Config{
		Binary: n.Binary, ConfigFile: n.ConfigFile, PIDFile: n.PIDFile,
		StateDir: n.StateDir, RunDir: testkit.TmpfsDir(t),
		ReleaseAddress: fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t, "127.0.0.1")),
		SessionTimeout: 2 * time.Hour, VerifyTimeout: 10 * time.Second, OldWorkerLimit: 500 * time.Millisecond,
		Log: testkit.Logger(t),
	}
	for _, c := range change {
		c(&cfg)
	}
	return &rig{Renderer: open(t, cfg), nginx: n}
}

func open(t testing.TB, cfg Config) *Renderer {
	t.Helper()
	r, err := New(cfg, &probe.Prober{})
	if err != nil {
		t.Fatalf("New() = %v", err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	return r
}

// reopen closes the renderer and makes a new one, as a restart of the agent does.
func (g *rig) reopen(t *testing.T, change ...func(*Config)) {
	t.Helper()
	if err := g.Close(); err != nil {
		t.Fatalf("Close() = %v", err)
	}
	cfg := g.cfg
	for _, c := range change {
		c(&cfg)
	}
	g.Renderer = open(t, cfg)
}

func (g *rig) apply(t testing.TB, rel Release) Outcome {
	t.Helper()
	o, err := g.Apply(t.Context(), rel)
	if err != nil {
		t.Fatalf("Apply(%s) = %v", rel.Reason, err)
	}
	return o
}

func (g *rig) recover(t *testing.T) Outcome {
	t.Helper()
	o, err := g.Recover(t.Context())
	if err != nil {
		t.Fatalf("Recover() = %v", err)
	}
	return o
}

// mustProve applies a release that nothing stands in the way of.
func (g *rig) mustProve(t testing.TB, rel Release) Outcome {
	t.Helper()
	o := g.apply(t, rel)
	if o.Reload.Result != fleet.ReloadOK || !o.Proved {
		t.Fatalf("Apply(%s) = %+v, want ok and proved", rel.Reason, o)
	}
	return o
}

func (g *rig) active(t *testing.T) Active {
	t.Helper()
	a, err := g.Active()
	if err != nil {
		t.Fatalf("Active() = %v", err)
	}
	return a
}

// sealsWith fails unless the first listener seals with key.
func (g *rig) sealsWith(t *testing.T, key fleet.KeyName) {
	t.Helper()
	l := fleet.Listener{Network: "tcp", Address: g.nginx.TLSAddrs[0], Listen: g.nginx.TLSAddrs[0], ServerName: g.nginx.Names[0]}
	proofs := (&probe.Prober{}).Prove(t.Context(), []fleet.Listener{l})
	if err := probe.Proved(proofs, key); err != nil {
		t.Errorf("nginx seals: %v", err)
	}
}

// keyFiles lists the names of the key files on disk.
func (g *rig) keyFiles(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(g.cfg.ticketsDir())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// wantKeyFiles fails unless exactly the ring's keys are on disk.
func (g *rig) wantKeyFiles(t *testing.T, ring fleet.Ring) {
	t.Helper()
	var want []string
	for _, n := range keyNames(ring) {
		want = append(want, n.String()+".key")
	}
	slices.Sort(want)
	if got := g.keyFiles(t); !slices.Equal(got, want) {
		t.Errorf("key files = %v, want %v", got, want)
	}
}

func newRing(t testing.TB, epoch uint64) fleet.Ring {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Second)
	ring, err := ticket.Create(ticket.Change{
		Now: now, By: "test", Cause: fleet.CauseCreated, Fresh: []fleet.TicketKey{newKey(t, now), newKey(t, now)}, Keep: 1, MinEpoch: epoch - 1,
	})
	if err != nil {
		t.Fatalf("create ring: %v", err)
	}
	return ring
}

func newKey(t testing.TB, now time.Time) fleet.TicketKey {
	t.Helper()
	key, err := ticket.NewKey(rand.Reader, now)
	if err != nil {
		t.Fatalf("make ticket key: %v", err)
	}
	return key
}

func ringRelease(ring fleet.Ring) Release {
	return Release{Mode: fleet.ModeRing, Ring: ring, Sealed: fmt.Appendf(nil, "sealed %d", ring.Epoch), Reason: fmt.Sprintf("epoch %d", ring.Epoch)}
}

func codes(o Outcome) []string {
	var all []string
	for _, p := range o.Problems {
		all = append(all, p.Code)
	}
	return all
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
