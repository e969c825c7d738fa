package agent_test

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/agent/ticket"
)

// host is one with nginx, before the agent has been started.
type host struct {
	cfg   config.Config
	nginx *testkit.Nginx
	store *store.Store
	ring  store.RingRecord
}

// newHost makes a host whose fleet has a ring in Consul.
func newHost(t *testing.T, o testkit.NginxOptions) *host {
	t.Helper()
	n := testkit.NewNginx(t, o)
	h := &host{nginx: n, cfg: config.Config{
		Fleet: testkit.FleetName(t), Node: "n1", KeyringFile: filepath.Join(t.TempDir(), "keyring"),
		StateDir: n.StateDir, RunDir: testkit.TmpfsDir(t), Consul: config.Consul{Address: testkit.SharedConsul(t).Addr},
		Nginx: config.Nginx{
			Binary: n.Binary, ConfigFile: n.ConfigFile, PIDFile: n.PIDFile,
			ReleaseAddress: fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t, "127.0.0.1")),
		},
		Ticket:       config.Ticket{SessionTimeout: time.Hour, StaleAfter: time.Hour},
		Certificates: config.Certificates{Mode: config.CertFiles},
	}}
	keyring, err := seal.Create(h.cfg.KeyringFile)
	if err != nil {
		t.Fatal(err)
	}
	if h.store, err = store.Open(store.Config{Address: h.cfg.Consul.Address, Fleet: h.cfg.Fleet, Log: testkit.Logger(t)}, keyring); err != nil {
		t.Fatal(err)
	}
	h.putRing(t, 1)
	return h
}

// putRing makes a new ring of an epoch the fleet's, born long ago.
func (h *host) putRing(t *testing.T, epoch uint64) {
	t.Helper()
	now := time.Now().Add(-2 * time.Hour).UTC().Truncate(time.Second)
	c := ticket.Change{Now: now, By: "test", Cause: fleet.CauseCreated, Keep: 1, MinEpoch: epoch - 1}
	for range 2 {
		key, err := ticket.NewKey(rand.Reader, now)
		if err != nil {
			t.Fatal(err)
		}
		c.Fresh = append(c.Fresh, key)
	}
	ring, err := ticket.Create(c)
	if err != nil {
		t.Fatal(err)
	}
	if h.ring, err = h.store.PutRing(t.Context(), ring, h.ring.Index, ""); err != nil {
		t.Fatal(err)
	}
}

// cutOff takes Consul away from the host.
func (h *host) cutOff(t *testing.T) {
	t.Helper()
	h.cfg.Consul.Address = fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t, "127.0.0.1"))
}

func (h *host) restore(t *testing.T) (agent.Restored, error) {
	t.Helper()
	return agent.Restore(t.Context(), h.cfg, 30*time.Second, agent.Options{Log: testkit.Logger(t)})
}

// boots restores, after which nginx must start.
func (h *host) boots(t *testing.T) agent.Restored {
	t.Helper()
	res, err := h.restore(t)
	if err != nil {
		t.Fatalf("Restore() = %v", err)
	}
	if err := h.nginx.Test(t); err != nil {
		t.Errorf("after Restore() = %+v: %v", res, err)
	}
	if err := h.nginx.TryStart(); err != nil {
		t.Errorf("after Restore() = %+v: %v", res, err)
	}
	return res
}

// reboot empties tmpfs.
func (h *host) reboot(t *testing.T) {
	t.Helper()
	h.nginx.Stop(t)
	if err := os.RemoveAll(filepath.Join(h.cfg.RunDir, "tickets")); err != nil {
		t.Fatal(err)
	}
}

// release is a path inside the active release.
func (h *host) release(name string) string {
	return filepath.Join(h.cfg.StateDir, "nginx", "current", name)
}

func do(t *testing.T, steps ...error) {
	t.Helper()
	for _, err := range steps {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestRestoreOverADamagedRelease(t *testing.T) {
	t.Parallel()
	link := func(h *host, name, target string) error {
		path := filepath.Join(h.cfg.StateDir, "nginx", name)
		if err := os.RemoveAll(path); err != nil {
			return err
		}
		return os.Symlink(target, path)
	}
	damages := map[string]func(*testing.T, *host){
		"release.json cut short":   func(t *testing.T, h *host) { do(t, os.Truncate(h.release("release.json"), 20)) },
		"release.json gone":        func(t *testing.T, h *host) { do(t, os.Remove(h.release("release.json"))) },
		"current leads to nowhere": func(t *testing.T, h *host) { do(t, link(h, "current", "nowhere")) },
		"current dangles":          func(t *testing.T, h *host) { do(t, link(h, "current", "77")) },
		"good is damaged":          func(t *testing.T, h *host) { do(t, link(h, "good", "nowhere"), link(h, "current", "nowhere")) },
		"current is a folder": func(t *testing.T, h *host) {
			do(t, os.Rename(filepath.Join(h.cfg.StateDir, "nginx", "1"), filepath.Join(h.cfg.StateDir, "nginx", "copy")))
			do(t, os.Remove(h.release("")))
			do(t, os.Rename(filepath.Join(h.cfg.StateDir, "nginx", "copy"), h.release("")))
		},
		"sealed ring unreadable": func(t *testing.T, h *host) {
			do(t, os.Remove(h.release("ring.sealed")), os.Mkdir(h.release("ring.sealed"), 0o750))
		},
	}
	for name, damage := range damages {
		for _, away := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, Consul away %t", name, away), func(t *testing.T) {
				t.Parallel()
				h := newHost(t, testkit.NginxOptions{})
				h.boots(t)
				h.reboot(t)
				damage(t, h)
				want := agent.Restored{Mode: fleet.ModeRing, Epoch: 1, Source: "consul"}
				if away {
					h.cutOff(t)
					want = agent.Restored{Mode: fleet.ModePerHost, Source: "none"}
				}
				got := h.boots(t)
				if (got.Note != "") != away {
					t.Errorf("Restore() = %+v, want a note: %t", got, away)
				}
				if got.Note = ""; got != want {
					t.Errorf("Restore() = %+v, want %+v", got, want)
				}
			})
		}
	}
}

func TestRestoreWhileAnAgentRuns(t *testing.T) {
	t.Parallel()
	h := newHost(t, testkit.NginxOptions{})
	h.boots(t)
	a, err := agent.New(h.cfg, agent.Options{Log: testkit.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { do(t, a.Close()) })
	res, err := h.restore(t)
	if err != nil || res.Source != "agent" || res.Mode != fleet.ModeRing || res.Epoch != 1 || !strings.Contains(res.Note, "another tlsfleet agent") {
		t.Errorf("Restore() = %+v, %v, want the active release, nothing done, with a note", res, err)
	}
}

func TestRestoreWithoutInclude(t *testing.T) {
	t.Parallel()
	for _, away := range []bool{false, true} {
		h := newHost(t, testkit.NginxOptions{NoInclude: true})
		if away {
			h.cutOff(t)
		}
		if res := h.boots(t); !strings.Contains(res.Note, "does not include") {
			t.Errorf("Restore() = %+v, want a note on the include", res)
		}
	}
}

func TestRestoreWithoutKeyring(t *testing.T) {
	t.Parallel()
	h := newHost(t, testkit.NginxOptions{})
	do(t, os.Remove(h.cfg.KeyringFile))
	res, err := h.restore(t)
	if _, ok := agent.Misconfigured(err); !ok {
		t.Errorf("Restore() = %+v, %v, want a mistake of configuration", res, err)
	}
}

// TestRestoreStepsAside boots a host where no release can be made and the
// last one has lost its keys.
func TestRestoreStepsAside(t *testing.T) {
	t.Parallel()
	h := newHost(t, testkit.NginxOptions{})
	h.boots(t)
	h.reboot(t)
	h.cutOff(t)
	do(t, os.Remove(h.release("ring.sealed")))
	h.cfg.Nginx.DefaultServers = []string{"127.0.0.1:1 ssl no_such_parameter"}
	if res, err := h.restore(t); err == nil || !strings.Contains(err.Error(), "no_such_parameter") {
		t.Errorf("Restore() = %+v, %v, want no_such_parameter refused", res, err)
	}
	if err := h.nginx.Test(t); err != nil {
		t.Errorf("nginx -t = %v, want nginx to start without tlsfleet", err)
	}
}

// TestRestoreKeepsTheRingOfARefusedConfiguration has a mistake of the
// operator, which says nothing against the release.
func TestRestoreKeepsTheRingOfARefusedConfiguration(t *testing.T) {
	t.Parallel()
	h := newHost(t, testkit.NginxOptions{})
	h.boots(t)
	h.reboot(t)
	good, err := os.ReadFile(h.nginx.ConfigFile)
	do(t, err, os.WriteFile(h.nginx.ConfigFile, append([]byte("no_such_directive;\n"), good...), 0o600))
	if res, err := h.restore(t); err != nil || res.Mode != fleet.ModeRing {
		t.Errorf("Restore() = %+v, %v, want the ring", res, err)
	}
	do(t, os.WriteFile(h.nginx.ConfigFile, good, 0o600), h.nginx.TryStart())
}

func TestRestoreIntoAnotherRunDir(t *testing.T) {
	t.Parallel()
	for _, away := range []bool{false, true} {
		h := newHost(t, testkit.NginxOptions{})
		h.boots(t)
		h.reboot(t)
		h.cfg.RunDir = testkit.TmpfsDir(t)
		if away {
			h.cutOff(t)
		}
		if res := h.boots(t); (res.Mode == fleet.ModeRing) == away {
			t.Errorf("Restore() = %+v with Consul away: %t", res, away)
		}
	}
}

func TestRestoreKeepsTheServersWithCertificates(t *testing.T) {
	t.Parallel()
	h := newHost(t, testkit.NginxOptions{})
	h.cfg.Certificates = config.Certificates{
		Mode: config.CertVariable, Names: config.NamesOpen,
		Listen: []string{fmt.Sprintf("127.0.0.1:%d ssl", testkit.FreePort(t, "127.0.0.1"))},
	}
	for epoch := range uint64(2) {
		h.reboot(t)
		if epoch > 0 {
			h.putRing(t, epoch+1)
		}
		if res := h.boots(t); res.Epoch != epoch+1 {
			t.Errorf("Restore() = %+v, want epoch %d", res, epoch+1)
		}
		if _, err := os.Stat(h.release("30-tls.conf")); err != nil {
			t.Errorf("epoch %d: %v", epoch+1, err)
		}
	}
}

// TestRestoreCutOff boots without Consul: the time without contact decides
// about the local copy, not the age of its key.
func TestRestoreCutOff(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		since time.Duration
		want  agent.Restored
	}{
		"lately":   {time.Minute, agent.Restored{Mode: fleet.ModeRing, Epoch: 1, Source: "local copy"}},
		"for long": {90 * time.Minute, agent.Restored{Mode: fleet.ModePerHost, Source: "none"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, testkit.NginxOptions{})
			h.boots(t)
			h.reboot(t)
			h.cutOff(t)
			contact := time.Now().Add(-tt.since).UTC().Format(time.RFC3339)
			do(t, os.WriteFile(filepath.Join(h.cfg.StateDir, "contact"), []byte(contact), 0o600))
			got := h.boots(t)
			if got.Note = ""; got != tt.want {
				t.Errorf("Restore() = %+v, want %+v", got, tt.want)
			}
		})
	}
}
