package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// grantee is a node "n" of a fleet "f" that gets its keyring from Consul.
type grantee struct {
	*handout
	cfg      config.Config
	operator *seal.Operator
}

func newOperator(t *testing.T) *seal.Operator {
	t.Helper()
	o, _, err := seal.EnsureOperator(filepath.Join(t.TempDir(), "operator.key"))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func newKeyring(t *testing.T) *seal.Keyring {
	t.Helper()
	ring, err := seal.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func newGrantee(t *testing.T, st *store.Store) *grantee {
	t.Helper()
	dir, o := t.TempDir(), newOperator(t)
	cfg := config.Config{Fleet: "f", Node: "n", StateDir: dir, KeyringFile: filepath.Join(dir, "keyring"), Keyring: config.Keyring{
		From: config.KeyringConsul, Operator: o.String(), IdentityFile: filepath.Join(dir, "node.age"),
	}}
	h, err := newHandout(cfg, st, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	h.problems = newProblems(func() {})
	return &grantee{h, cfg, o}
}

// wrap is what an operator signs for the node.
func (g *grantee) wrap(t *testing.T, o *seal.Operator, change func(*seal.Grant), ring *seal.Keyring) []byte {
	t.Helper()
	grant := seal.Grant{Fleet: "f", Node: "n", Recipient: g.identity.Recipient(), Generation: 7}
	if change != nil {
		change(&grant)
	}
	record, err := o.Wrap(grant, ring)
	if err != nil {
		t.Fatal(err)
	}
	return record
}

// wantKept fails the test if the node has another keyring or has noted another
// generation.
func (g *grantee) wantKept(t *testing.T, ring *seal.Keyring, generation uint64) {
	t.Helper()
	got, err := seal.Load(g.cfg.KeyringFile)
	switch {
	case ring == nil && !errors.Is(err, os.ErrNotExist):
		t.Errorf("the node has %v, %v, want no keyring", got, err)
	case ring != nil && (err != nil || !got.Marshal().Equal(ring.Marshal())):
		t.Errorf("the node has %v, %v, want %v", got, err, ring)
	}
	if got, err := g.generation(); err != nil || got != generation {
		t.Errorf("generation() = %d, %v, want %d", got, err, generation)
	}
}

// problemList is codes, messages and hints.
func (g *grantee) problemList() string {
	var lines []string
	for _, p := range g.problems.list() {
		lines = append(lines, fmt.Sprintf("%s %s %s (%s)", p.Severity, p.Code, p.Message, p.Hint))
	}
	return strings.Join(lines, "\n")
}

// TestHandoutRefuses keeps the keyring of a node, or that it has none, whatever
// somebody puts in its place in Consul.
func TestHandoutRefuses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		record func(*testing.T, *grantee, *seal.Keyring) []byte
		want   string
		first  bool // refused as the first one too
	}{
		"one of another operator": {func(t *testing.T, g *grantee, k *seal.Keyring) []byte {
			return g.wrap(t, newOperator(t), func(r *seal.Grant) { r.Generation = 1 << 60 }, k)
		}, "has not signed it", true},
		"one for another node": {func(t *testing.T, g *grantee, k *seal.Keyring) []byte {
			return g.wrap(t, g.operator, func(r *seal.Grant) { r.Node = "m" }, k)
		}, `it is for the node "m" of the fleet "f"`, true},
		"one for another fleet": {func(t *testing.T, g *grantee, k *seal.Keyring) []byte {
			return g.wrap(t, g.operator, func(r *seal.Grant) { r.Fleet = "g" }, k)
		}, `it is for the node "n" of the fleet "g"`, true},
		"one for another identity": {func(t *testing.T, g *grantee, k *seal.Keyring) []byte {
			return g.wrap(t, g.operator, func(r *seal.Grant) { r.Recipient = newGrantee(t, nil).identity.Recipient() }, k)
		}, "admit it again", true},
		"an older one": {func(t *testing.T, g *grantee, k *seal.Keyring) []byte {
			return g.wrap(t, g.operator, func(r *seal.Grant) { r.Generation = 6 }, k)
		}, "generation 6 is older than 7", false},
		"half of one": {func(t *testing.T, g *grantee, k *seal.Keyring) []byte {
			record := g.wrap(t, g.operator, nil, k)
			return record[:len(record)/2]
		}, "not in a form", true},
		"too much": {func(*testing.T, *grantee, *seal.Keyring) []byte { return make([]byte, 512<<10) }, "at most", true},
		"nothing":  {func(*testing.T, *grantee, *seal.Keyring) []byte { return nil }, "not in a form", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, works := range []bool{true, false} {
				g := newGrantee(t, nil)
				var kept *seal.Keyring
				var generation uint64
				if works {
					kept, generation = newKeyring(t), 7
					if !g.see(seen{rec: store.GrantRecord{Record: g.wrap(t, g.operator, nil, kept)}}) || g.problemList() != "" {
						t.Fatalf("the right one was not taken: %s", g.problemList())
					}
				} else if !tt.first {
					continue
				}
				if !g.see(seen{rec: store.GrantRecord{Record: tt.record(t, g, newKeyring(t))}}) {
					t.Errorf("works before: %t: it is tried again, want not", works)
				}
				g.wantKept(t, kept, generation)
				if got := g.problemList(); !strings.HasPrefix(got, "alarm keyring-refused ") || !strings.Contains(got, tt.want) || !strings.Contains(got, "tlsfleet node admit") {
					t.Errorf("works before: %t: problems = %q, want keyring-refused with %q and a hint", works, got, tt.want)
				}
				if next := newKeyring(t); !g.see(seen{rec: store.GrantRecord{Record: g.wrap(t, g.operator, func(r *seal.Grant) { r.Generation = 8 }, next)}}) || g.problemList() != "" {
					t.Errorf("a newer one was not taken afterwards: %s", g.problemList())
				} else {
					g.wantKept(t, next, 8)
				}
			}
		})
	}
}

// TestHandoutKeepsWhatIsMissing: a record that is gone takes nothing away.
func TestHandoutKeepsWhatIsMissing(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err  error
		hint string
	}{
		"gone":   {fmt.Errorf("read: %w", store.ErrMissing), "tlsfleet node admit n age1"},
		"hidden": {fmt.Errorf("read: %w", store.ErrDenied), "tlsfleet policy"},
	} {
		g, ring := newGrantee(t, nil), newKeyring(t)
		if !g.see(seen{err: tt.err}) || g.problemList() != "" {
			t.Errorf("%s before the first: problems = %q, want none", name, g.problemList())
		}
		g.wantKept(t, nil, 0)
		g.see(seen{rec: store.GrantRecord{Record: g.wrap(t, g.operator, nil, ring)}})
		g.see(seen{err: tt.err})
		g.wantKept(t, ring, 7)
		if got := g.problemList(); !strings.HasPrefix(got, "alarm keyring-withdrawn ") || !strings.Contains(got, tt.hint) {
			t.Errorf("%s: problems = %q, want keyring-withdrawn with the hint %q", name, got, tt.hint)
		}
	}
	g := newGrantee(t, nil)
	if g.see(seen{err: errors.New("away")}); g.problemList() != "" {
		t.Errorf("without contact: problems = %q, want none", g.problemList())
	}
}

// TestHandoutTakesNoneWhileItCannotTellTheOlder: what a node has noted of the
// keyrings before is damaged.
func TestHandoutTakesNoneWhileItCannotTellTheOlder(t *testing.T) {
	t.Parallel()
	g, ring := newGrantee(t, nil), newKeyring(t)
	g.see(seen{rec: store.GrantRecord{Record: g.wrap(t, g.operator, nil, ring)}})
	file := filepath.Join(g.cfg.StateDir, generationFile)
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	older := seen{rec: store.GrantRecord{Record: g.wrap(t, g.operator, func(r *seal.Grant) { r.Generation = 6 }, newKeyring(t))}}
	if g.see(older) {
		t.Error("it is not tried again, want it tried until somebody has mended the file")
	}
	if got, err := seal.Load(g.cfg.KeyringFile); err != nil || !got.Marshal().Equal(ring.Marshal()) {
		t.Errorf("the node has %v, %v, want %v", got, err, ring)
	}
	if got := g.problemList(); !strings.HasPrefix(got, "alarm keyring-not-kept ") || !strings.Contains(got, "remove it and admit the node again") || !strings.Contains(got, file) {
		t.Errorf("problems = %q, want keyring-not-kept, the file and what to do", got)
	}
}

// TestHandoutTriesAgainWhatItCouldNotKeep has no room for the keyring at first.
func TestHandoutTriesAgainWhatItCouldNotKeep(t *testing.T) {
	t.Parallel()
	ring := newKeyring(t)
	st, err := store.Open(store.Config{Fleet: testkit.FleetName(t), Address: testkit.SharedConsul(t).Addr, Log: testkit.Logger(t)}, ring)
	if err != nil {
		t.Fatal(err)
	}
	g := newGrantee(t, st)
	g.again = 20 * time.Millisecond
	held := filepath.Join(g.cfg.StateDir, "held")
	g.handout.cfg.KeyringFile, g.cfg.KeyringFile = filepath.Join(held, "keyring"), filepath.Join(held, "keyring")
	if err := st.PutGrant(t.Context(), "n", g.wrap(t, g.operator, nil, ring), 0); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	testkit.Eventually(t, 20*time.Second, "the alarm", func() error {
		if got := g.problemList(); !strings.HasPrefix(got, "alarm keyring-not-kept ") || !strings.Contains(got, "tries again") {
			return fmt.Errorf("problems are %q", got)
		}
		return nil
	})
	if err := os.Mkdir(held, 0o700); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 20*time.Second, "the keyring", func() error {
		if got := g.problemList(); got != "" {
			return fmt.Errorf("problems are %q", got)
		}
		return nil
	})
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run() = %v, want nil", err)
	}
	g.wantKept(t, ring, 7)
}

// TestHandoutIsPrivate: what a node keeps of it nobody else reads, and nginx's
// workers pass through the folder.
func TestHandoutIsPrivate(t *testing.T) {
	t.Parallel()
	cfg := newGrantee(t, nil).cfg
	cfg.StateDir = filepath.Join(t.TempDir(), "state")
	cfg.KeyringFile, cfg.Keyring.IdentityFile = filepath.Join(cfg.StateDir, "keyring"), filepath.Join(cfg.StateDir, "node.age")
	o := newOperator(t)
	cfg.Keyring.Operator = o.String()
	h, err := newHandout(cfg, nil, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	g := &grantee{h, cfg, o}
	if err := g.take(g.wrap(t, o, nil, newKeyring(t))); err != nil {
		t.Fatal(err)
	}
	want := map[string]os.FileMode{".": 0o750, "keyring": 0o600, "node.age": 0o600, generationFile: 0o600}
	for name, mode := range want {
		if info, err := os.Stat(filepath.Join(cfg.StateDir, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v, %v, want %v", name, info.Mode().Perm(), err, mode)
		}
	}
	if err := os.Chmod(cfg.Keyring.IdentityFile, 0o640); err != nil { //nolint:gosec // what is to be refused
		t.Fatal(err)
	}
	_, err = newHandout(cfg, nil, hclog.NewNullLogger())
	if advice, ok := Misconfigured(err); !ok || !strings.Contains(err.Error(), "chmod 600 "+cfg.Keyring.IdentityFile) || !strings.Contains(advice, "0600") {
		t.Errorf("newHandout() with an identity that others can read = %v, %q, want a mistake of configuration that says what to do", err, advice)
	}
}
