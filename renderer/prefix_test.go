package renderer

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// underPrefix is a rig whose nginx finds a file of its configuration only
// under the prefix it is started with.
func underPrefix(t *testing.T, change ...func(*Config)) *rig {
	t.Helper()
	g := newRig(t, testkit.NginxOptions{HTTP: "access_log logs/access.log;"}, change...)
	if err := os.Mkdir(filepath.Join(g.nginx.Dir, "logs"), 0o750); err != nil {
		t.Fatal(err)
	}
	return g
}

func TestReleaseIsTestedUnderThePrefixOfTheMaster(t *testing.T) {
	t.Parallel()
	g := underPrefix(t)
	g.nginx.Start(t) // with -p
	g.mustProve(t, ringRelease(newRing(t, 1)))
	g.nginx.Stop(t)
	second := newRing(t, 2)
	if o := g.apply(t, ringRelease(second)); o.Reload.Result != fleet.ReloadNotRunning {
		t.Errorf("Apply() with nginx down = %+v, want it tested under the prefix seen before", o)
	}
}

func TestReleaseIsTestedUnderTheConfiguredPrefix(t *testing.T) {
	t.Parallel()
	g := underPrefix(t)
	if o := g.apply(t, ringRelease(newRing(t, 1))); o.Reload.Result != fleet.ReloadRejected {
		t.Errorf("Apply() = %+v, want it refused while nothing tells the prefix", o)
	}
	g.reopen(t, func(c *Config) { c.Prefix = g.nginx.Dir })
	if o := g.apply(t, ringRelease(newRing(t, 2))); o.Reload.Result != fleet.ReloadNotRunning {
		t.Errorf("Apply() = %+v, want it tested under the prefix of the configuration", o)
	}
}

// TestRelativePrefixAndConfigurationFile starts nginx as "nginx -p . -c
// nginx.conf".
func TestRelativePrefixAndConfigurationFile(t *testing.T) {
	t.Parallel()
	g := underPrefix(t)
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), g.nginx.Binary, "-p", ".", "-c", "nginx.conf")
	cmd.Dir = g.nginx.Dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), ignoreKilled(cmd.Wait())); err != nil {
			t.Error(err)
		}
	})
	testkit.Eventually(t, 50*time.Second, "nginx", func() error {
		_, err := g.master(t.Context())
		return err
	})
	if got, want := g.prefixArguments(t.Context()), []string{"-p", g.nginx.Dir}; !slices.Equal(got, want) {
		t.Errorf("prefixArguments() = %q, want %q", got, want)
	}
	g.mustProve(t, ringRelease(newRing(t, 1)))
}
