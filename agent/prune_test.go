package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// TestTombstonesStayUntilEveryNodeFollowed has a node that is behind, then not.
func TestTombstonesStayUntilEveryNodeFollowed(t *testing.T) {
	keyring := filepath.Join(t.TempDir(), "keyring")
	if _, err := seal.Create(keyring); err != nil {
		t.Fatal(err)
	}
	cfg := config.Config{Fleet: testkit.FleetName(t), KeyringFile: keyring, Consul: config.Consul{Address: testkit.SharedConsul(t).Addr}}
	st, err := openStore(cfg, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	epoch := removedName(t, st, now.Add(-pruneGrace-time.Hour))
	if err := st.Register(t.Context(), store.Registration{Node: "n", Address: "10.0.0.1", Version: "test", TTL: time.Minute}); err != nil {
		t.Fatal(err)
	}
	reports := make(chan fleet.Report)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- st.KeepReport(ctx, "n", 10*time.Second, reports, func(error) {}) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	report := func(followed uint64) {
		t.Helper()
		reports <- fleet.Report{Node: "n", At: now, Inventory: followed}
		testkit.Eventually(t, 50*time.Second, "the report", func() error {
			rs, _, err := st.Reports(t.Context())
			if err == nil && (len(rs) != 1 || rs[0].Inventory != followed) {
				return fmt.Errorf("reports are %+v", rs)
			}
			return err
		})
	}
	x := tidy{log: hclog.NewNullLogger(), store: st}
	for _, s := range []struct {
		followed uint64
		at       time.Time
		left     int
	}{
		{epoch - 1, now, 1},
		{epoch, now.Add(pruneEvery / 2), 1}, // looked for a moment ago
		{epoch, now.Add(pruneEvery + time.Minute), 0},
	} {
		report(s.followed)
		if err := x.prune(t.Context(), "", s.at); err != nil {
			t.Fatalf("prune() = %v", err)
		}
		records, bad, err := st.Shards(t.Context(), []int{inventory.ShardOf("gone.test")})
		if err != nil || len(bad) > 0 || len(records[0].Shard.Entries) != s.left {
			t.Errorf("shard = %+v, %v, %v after a node followed epoch %d of %d, want %d tombstones", records, bad, err, s.followed, epoch, s.left)
		}
	}
}

// removedName puts a name into the inventory and removes it at that time.
func removedName(t *testing.T, st *store.Store, at time.Time) uint64 {
	t.Helper()
	cert, key := testkit.SelfSigned(t, "gone.test")
	b, err := bundle.FromPEM(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	put := store.Certificate{Bundle: b, Names: []string{"gone.test"}, Entry: fleet.Entry{NotAfter: at, Source: fleet.SourceImport}}
	if _, err := st.EditInventory(t.Context(), store.Edit{Put: []store.Certificate{put}, Now: at}, "", nil); err != nil {
		t.Fatal(err)
	}
	done, err := st.EditInventory(t.Context(), store.Edit{Remove: []string{"gone.test"}, Now: at}, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	return done.Epoch
}
