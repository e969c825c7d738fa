package renderer

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// outdated is what Outdated says with nothing to serve.
func (g *rig) outdated(t *testing.T) string {
	t.Helper()
	why, err := g.Outdated(TLSServers{}, Challenges{})
	if err != nil {
		t.Fatalf("Outdated() = %v", err)
	}
	return why
}

func freeAddress(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t, "127.0.0.1"))
}

// TestChangedSettingsAreFollowed restarts the agent with other settings while
// nginx serves a release of the old ones.
func TestChangedSettingsAreFollowed(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(*testing.T, *rig, *Config)
		want   string
	}{
		"release_address": {func(t *testing.T, _ *rig, c *Config) { c.ReleaseAddress = freeAddress(t) }, "release_address"},
		"default_servers": {func(_ *testing.T, g *rig, c *Config) { c.DefaultServers = []string{g.nginx.TLSAddrs[0] + " ssl"} }, "default_servers"},
		"session_timeout": {func(_ *testing.T, _ *rig, c *Config) { c.SessionTimeout = time.Hour }, "session_timeout"},
		"run_dir":         {func(t *testing.T, _ *rig, c *Config) { c.RunDir = testkit.TmpfsDir(t) }, "00-tickets.conf"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t, testkit.NginxOptions{})
			g.nginx.Start(t)
			ring := newRing(t, 1)
			g.mustProve(t, ringRelease(ring))
			if why := g.outdated(t); why != "" {
				t.Errorf("Outdated() = %q before any change, want nothing", why)
			}
			g.reopen(t, func(c *Config) { tt.change(t, g, c) })
			if err := g.WriteKeys(ring); err != nil {
				t.Fatal(err)
			}
			if o := g.recover(t); !o.Proved || o.Reload.Result != fleet.ReloadOK {
				t.Errorf("Recover() = %+v, want the old release proved", o)
			}
			if o, err := g.Prove(t.Context()); err != nil || !o.Proved {
				t.Errorf("Prove() = %+v, %v, want the old release proved", o, err)
			}
			if why := g.outdated(t); !strings.Contains(why, tt.want) {
				t.Errorf("Outdated() = %q, want %s named", why, tt.want)
			}
			g.mustProve(t, ringRelease(ring))
			if why := g.outdated(t); why != "" {
				t.Errorf("Outdated() = %q after Apply, want nothing", why)
			}
			g.sealsWith(t, ring.Current.Name())
		})
	}
}

func TestOperatorsSessionTimeoutIsNotOutdated(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{HTTP: "ssl_session_timeout 10m;"})
	g.apply(t, ringRelease(newRing(t, 1)))
	g.reopen(t, func(c *Config) { c.SessionTimeout = time.Hour })
	if why := g.outdated(t); why != "" {
		t.Errorf("Outdated() = %q, want nothing: the operator sets the timeout", why)
	}
	text := read(t, g.nginx.ConfigFile)
	write(t, g.nginx.ConfigFile, strings.Replace(text, "ssl_session_timeout 10m;", "", 1))
	if why := g.outdated(t); !strings.Contains(why, "session_timeout") {
		t.Errorf("Outdated() = %q, want session_timeout named", why)
	}
}

func TestOutdatedServers(t *testing.T) {
	t.Parallel()
	g := newTLSRig(t, testkit.NginxOptions{})
	g.put(t, "a.test")
	g.serve(t, g.servers(NamesListed, "a.test"))
	for name, tt := range map[string]struct {
		servers TLSServers
		same    bool
	}{
		"same":       {g.servers(NamesListed, "a.test"), true},
		"other list": {g.servers(NamesListed, "a.test", "b.test"), false},
		"none":       {TLSServers{}, false},
	} {
		if why, err := g.Outdated(tt.servers, Challenges{}); err != nil || (why == "") != tt.same {
			t.Errorf("Outdated(%s) = %q, %v, want same: %t", name, why, err, tt.same)
		}
	}
}

func TestOutdatedWithoutRelease(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	if why := g.outdated(t); why != "" {
		t.Errorf("Outdated() = %q, want nothing", why)
	}
}

// TestReleaseWithoutFrame has a release of a version that did not keep what it
// was rendered from.
func TestReleaseWithoutFrame(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	g.nginx.Start(t)
	ring := newRing(t, 1)
	g.mustProve(t, ringRelease(ring))
	file := filepath.Join(g.cfg.releaseDir(1), manifestFile)
	text := read(t, file)
	begin := strings.Index(text, `"frame"`)
	if begin < 0 {
		t.Fatalf("%s has no frame: %s", manifestFile, text)
	}
	if err := os.WriteFile(file, []byte(strings.TrimRight(text[:begin], ", \n")+"}"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.reopen(t)
	if o := g.recover(t); !o.Proved {
		t.Errorf("Recover() = %+v, want proved", o)
	}
	if why := g.outdated(t); why == "" {
		t.Error("Outdated() says nothing of a release that does not tell")
	}
	g.mustProve(t, ringRelease(ring))
	if why := g.outdated(t); why != "" {
		t.Errorf("Outdated() = %q after Apply, want nothing", why)
	}
}

func TestRollBackAcrossAChangeOfAddress(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	g.nginx.Start(t)
	first := newRing(t, 1)
	g.mustProve(t, ringRelease(first))
	taken := listenOn(t)
	g.reopen(t, func(c *Config) { c.ReleaseAddress, c.VerifyTimeout = taken, 4*time.Second })
	if o := g.apply(t, ringRelease(newRing(t, 2))); o.Reload.Result != fleet.ReloadRolledBack {
		t.Errorf("Apply() = %+v, want rolled back", o.Reload)
	}
	if a := g.active(t); a.Release != 1 || !a.Good {
		t.Errorf("Active() = %+v, want release 1, good", a)
	}
	if o, err := g.Prove(t.Context()); err != nil || !o.Proved {
		t.Errorf("Prove() = %+v, %v, want release 1 proved", o, err)
	}
	g.sealsWith(t, first.Current.Name())
}
