package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// forger makes certificates that no import takes: their issuer has only the name
// of its own.
type forger struct{ ca, impostor *authority }

func newForger(t *testing.T) forger { return forger{newAuthority(t), newAuthority(t)} }

func (g forger) good(t *testing.T, name string) bundle.Bundle {
	t.Helper()
	return g.ca.found(t, name, 30, name).Bundle
}

func (g forger) forged(t *testing.T, name string) bundle.Bundle {
	t.Helper()
	b := g.impostor.found(t, name, 60, name).Bundle
	b.Chain = [][]byte{g.ca.cert.Raw}
	return b
}

// TestWhatItsIssuerHasNotSignedIsTakenBack puts forged certificates into Consul:
// one for a name that has none is looked at once it is live, one for a name that
// has one before, and all others before once one was found.
func TestWhatItsIssuerHasNotSignedIsTakenBack(t *testing.T) {
	f, g := followerOf(t), newForger(t)
	f.start(t)
	good := g.good(t, "a.test")
	f.put(t, "a.test", good)
	f.await(t, "a.test", good)

	replaces, own, added := g.forged(t, "a.test"), g.good(t, "c.test"), g.forged(t, "b.test")
	own.Key = replaces.Key
	f.put(t, "a.test", replaces)
	f.put(t, "c.test", own)
	f.put(t, "b.test", added)
	f.awaitQuarantine(t, "b.test")
	f.awaitNothing(t, "b.test")
	if got := f.live("a.test"); got != bundle.Hash(good).String() {
		t.Errorf("a.test is served with %s, want %s, that of the issuer's signature", got, bundle.Hash(good))
	}
	if f.stored(replaces) || f.quarantine(t)["a.test"] {
		t.Errorf("the forged renewal of a.test was written, want it checked in full before that: it takes the place of another")
	}
	if got := f.live("c.test"); got != "" {
		t.Errorf("c.test is served with %s, whose key is another's, want nothing", got)
	}

	next := g.forged(t, "d.test")
	f.put(t, "d.test", next)
	last := g.good(t, "e.test")
	f.put(t, "e.test", last)
	f.await(t, "e.test", last)
	if f.quarantine(t)["d.test"] || f.stored(next) {
		t.Error("the forged certificate of d.test was written, want it refused: another was found before")
	}
	renewed := g.good(t, "b.test")
	f.put(t, "b.test", renewed)
	f.await(t, "b.test", renewed)
	testkit.Eventually(t, 50*time.Second, "the quarantine to end with the renewal", func() error {
		if in := f.quarantine(t); len(in) > 0 {
			return fmt.Errorf("in quarantine are %v", in)
		}
		return nil
	})
}

// TestForgedAmongManyAreTakenBackAfterARestart ends the agent as soon as all
// names are live.
func TestForgedAmongManyAreTakenBackAfterARestart(t *testing.T) {
	const many, every = 1000, 100
	f, g := followerOf(t), newForger(t)
	bundles, edit := map[string]bundle.Bundle{}, store.Edit{Now: time.Now()}
	forged := map[string]bool{}
	for i := range many {
		name := fmt.Sprintf("n%d.test", i)
		if forged[name] = i%every == 0; forged[name] {
			bundles[name] = g.forged(t, name)
		} else {
			bundles[name] = g.good(t, name)
		}
		edit.Put = append(edit.Put, certificate(name, bundles[name]))
	}
	if _, err := f.store.EditInventory(t.Context(), edit, "", nil); err != nil {
		t.Fatal(err)
	}
	stop := f.start(t)
	testkit.Eventually(t, time.Minute, "all names to be served", func() error {
		if n := f.count(t); n < many-many/every {
			return fmt.Errorf("%d names are served", n)
		}
		return nil
	})
	stop()
	before := f.verified(t)
	if before == many-many/every {
		t.Logf("all %d bundles were verified before the agent ended", before)
	}
	f.start(t)
	testkit.Eventually(t, 2*time.Minute, "all bundles to be verified", func() error {
		if n, bad := f.verified(t), f.quarantine(t); n < many-many/every || len(bad) < many/every {
			return fmt.Errorf("%d are verified, %d after the first start, in quarantine are %v", n, before, bad)
		}
		return nil
	})
	for name, b := range bundles {
		if forged[name] {
			f.awaitNothing(t, name)
		} else if got := f.live(name); got != bundle.Hash(b).String() {
			t.Errorf("%s is served with %q, want %s", name, got, bundle.Hash(b))
		}
	}
}

// following is a fleet and a node that can follow it.
type following struct {
	store *store.Store
	cfg   config.Config
	state string
}

// followerOf makes the node.
func followerOf(t *testing.T) following {
	t.Helper()
	n := testkit.NewNginx(t, testkit.NginxOptions{})
	cfg := config.Default()
	cfg.Fleet, cfg.Node, cfg.KeyringFile = testkit.FleetName(t), "node1", filepath.Join(t.TempDir(), "keyring")
	cfg.StateDir, cfg.RunDir, cfg.Consul.Address = t.TempDir(), testkit.TmpfsDir(t), testkit.SharedConsul(t).Addr
	cfg.Nginx.Binary, cfg.Nginx.ConfigFile, cfg.Nginx.PIDFile = n.Binary, n.ConfigFile, n.PIDFile
	ring, err := seal.Create(cfg.KeyringFile)
	if err != nil {
		t.Fatal(err)
	}
	f := following{cfg: cfg, state: cfg.StateDir}
	if f.store, err = store.Open(store.Config{Address: cfg.Consul.Address, Fleet: cfg.Fleet}, ring); err != nil {
		t.Fatal(err)
	}
	return f
}

// start runs the part of an agent that keeps the files of certificates, until
// stop or the end of the test.
func (f following) start(t *testing.T) (stop func()) {
	t.Helper()
	a, err := agent.New(f.cfg, agent.Options{Log: hclog.NewNullLogger()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- errors.Join(a.FollowCertificates(ctx), a.Close()) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func certificate(name string, b bundle.Bundle) store.Certificate {
	return store.Certificate{
		Bundle: b, Names: []string{name}, Entry: fleet.Entry{NotAfter: time.Now().AddDate(0, 0, 30), Source: fleet.SourceImport},
	}
}

// put makes the inventory want a bundle, whatever it is.
func (f following) put(t *testing.T, name string, b bundle.Bundle) {
	t.Helper()
	edit := store.Edit{Now: time.Now(), Put: []store.Certificate{certificate(name, b)}}
	if _, err := f.store.EditInventory(t.Context(), edit, "", nil); err != nil {
		t.Fatal(err)
	}
}

// live is the hash of the bundle that a name is served with; empty if none is.
func (f following) live(name string) string {
	target, err := os.Readlink(filepath.Join(f.state, "live", name))
	if err != nil {
		return ""
	}
	return filepath.Base(target)
}

// count is how many names are served.
func (f following) count(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(f.state, "live"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return len(entries)
}

// stored reports whether a bundle has been written.
func (f following) stored(b bundle.Bundle) bool {
	_, err := os.Lstat(filepath.Join(f.state, "store", bundle.Hash(b).String()))
	return err == nil
}

// verified is how many bundles are marked.
func (f following) verified(t *testing.T) (n int) {
	t.Helper()
	roots, err := filepath.Glob(filepath.Join(f.state, "store", "*", "root"))
	if err != nil {
		t.Fatal(err)
	}
	for _, root := range roots {
		if info, err := os.Lstat(root); err == nil && info.ModTime().Before(time.Unix(2, 0)) {
			n++
		}
	}
	return n
}

// quarantine is the names in it.
func (f following) quarantine(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(f.state, "certificates.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var book struct{ Quarantine map[string]any }
	if err == nil {
		err = json.Unmarshal(text, &book)
	}
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for name := range book.Quarantine {
		names[name] = true
	}
	return names
}

func (f following) awaitQuarantine(t *testing.T, name string) {
	t.Helper()
	testkit.Eventually(t, 50*time.Second, name+" to be in quarantine", func() error {
		if in := f.quarantine(t); !in[name] {
			return fmt.Errorf("in quarantine are %v", in)
		}
		return nil
	})
}

func (f following) awaitNothing(t *testing.T, name string) {
	t.Helper()
	testkit.Eventually(t, 50*time.Second, name+" to be served no more", func() error {
		if got := f.live(name); got != "" {
			return fmt.Errorf("served with %s", got)
		}
		return nil
	})
}

func (f following) await(t *testing.T, name string, b bundle.Bundle) {
	t.Helper()
	testkit.Eventually(t, 50*time.Second, name+" to be served", func() error {
		if got, want := f.live(name), bundle.Hash(b).String(); got != want {
			return fmt.Errorf("served with %q, want %s", got, want)
		}
		return nil
	})
}
