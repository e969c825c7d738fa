package agent_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// TestOnlyWhatReplacesNothingIsTakenWithoutItsIssuersSignature puts certificates
// into Consul that no import takes: their issuer has only the name of its own.
func TestOnlyWhatReplacesNothingIsTakenWithoutItsIssuersSignature(t *testing.T) {
	f, ca := followerOf(t), newAuthority(t)
	good := ca.found(t, "a", 30, "a.test").Bundle
	f.put(t, "a.test", good)
	f.await(t, "a.test", good)

	impostor := newAuthority(t)
	forged := func(name string) bundle.Bundle {
		b := impostor.found(t, name, 60, name).Bundle
		b.Chain = good.Chain
		return b
	}
	first, second, own := forged("a.test"), forged("b.test"), ca.found(t, "c", 30, "c.test").Bundle
	own.Key = first.Key
	f.put(t, "a.test", first)
	f.put(t, "c.test", own)
	f.put(t, "b.test", second)
	f.await(t, "b.test", second)
	if got := f.live("a.test"); got != bundle.Hash(good).String() {
		t.Errorf("a.test is served with %s, want %s, that of the issuer's signature", got, bundle.Hash(good))
	}
	if got := f.live("c.test"); got != "" {
		t.Errorf("c.test is served with %s, whose key is another's, want nothing", got)
	}
	renewed := ca.found(t, "b", 90, "b.test").Bundle
	f.put(t, "b.test", renewed)
	f.await(t, "b.test", renewed)
}

// following is a fleet and the folder of a node that follows it.
type following struct {
	store *store.Store
	state string
}

// followerOf starts the part of an agent that keeps the files of certificates.
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
	f := following{state: cfg.StateDir}
	if f.store, err = store.Open(store.Config{Address: cfg.Consul.Address, Fleet: cfg.Fleet}, ring); err != nil {
		t.Fatal(err)
	}
	a, err := agent.New(cfg, agent.Options{Log: hclog.NewNullLogger()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- errors.Join(a.FollowCertificates(ctx), a.Close()) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return f
}

// put makes the inventory want a bundle, whatever it is.
func (f following) put(t *testing.T, name string, b bundle.Bundle) {
	t.Helper()
	edit := store.Edit{Now: time.Now(), Put: []store.Certificate{{
		Bundle: b, Names: []string{name}, Entry: fleet.Entry{NotAfter: time.Now().AddDate(0, 0, 30), Source: fleet.SourceImport},
	}}}
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

func (f following) await(t *testing.T, name string, b bundle.Bundle) {
	t.Helper()
	testkit.Eventually(t, 20*time.Second, name+" to be served", func() error {
		if got, want := f.live(name), bundle.Hash(b).String(); got != want {
			return fmt.Errorf("served with %q, want %s", got, want)
		}
		return nil
	})
}
