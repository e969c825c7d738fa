package agent_test

import (
	"os"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/probe"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// TestRestoreGoesOnAnsweringChallenges makes another release at boot than the
// one that was active, because the fleet has another ring.
func TestRestoreGoesOnAnsweringChallenges(t *testing.T) {
	t.Parallel()
	h := newHost(t, testkit.NginxOptions{})
	c := h.cfg
	r, err := renderer.New(renderer.Config{
		Binary: c.Nginx.Binary, ConfigFile: c.Nginx.ConfigFile, PIDFile: c.Nginx.PIDFile, StateDir: c.StateDir, RunDir: c.RunDir,
		ReleaseAddress: c.Nginx.ReleaseAddress, Log: testkit.Logger(t),
	}, &probe.Prober{})
	if err != nil {
		t.Fatal(err)
	}
	const thumbprint = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
	do(t, r.Restore(t.Context(), renderer.Release{Mode: fleet.ModePerHost, Challenges: renderer.Challenges{Thumbprint: thumbprint}}), r.Close())
	if res := h.boots(t); res.Mode != fleet.ModeRing {
		t.Errorf("Restore() = %+v, want mode ring", res)
	}
	text, err := os.ReadFile(h.release("acme-challenge.inc"))
	if err != nil || !strings.Contains(string(text), thumbprint) {
		t.Errorf("the release answers challenges with %q, %v, want the thumbprint that it had", text, err)
	}
}
