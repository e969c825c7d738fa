package agent

import (
	"crypto/rand"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

func TestArchivesLackAKeyUntilTheLeaderSaysOtherwise(t *testing.T) {
	told := func(s fleet.Sealing) *fleet.Sealing { return &s }
	for name, c := range map[string]struct {
		told    *fleet.Sealing
		leaders bool
		want    string
	}{
		"nothing told":           {nil, false, "the leader"},
		"under way":              {told(fleet.Sealing{Key: "new"}), false, "the leader"},
		"of the key before":      {told(fleet.Sealing{Key: "old", Done: true}), false, "the leader"},
		"of the leaders' before": {told(fleet.Sealing{Key: "new", Leaders: "old", Done: true}), true, "the leader"},
		"one behind":             {told(fleet.Sealing{Key: "new", Done: true, Behind: []string{"disk"}}), false, "archive disk"},
		"unread records":         {told(fleet.Sealing{Key: "new", Done: true, Bad: 2}), false, "the leader"},
		"done":                   {told(fleet.Sealing{Key: "new", Leaders: "other", Done: true}), false, ""},
		"done for the leaders":   {told(fleet.Sealing{Key: "other", Leaders: "new", Done: true}), true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if lacks := archivesLack(c.told, "new", c.leaders); len(lacks) > 0 {
				got = lacks[0].Node
			}
			if got != c.want {
				t.Errorf("archivesLack() names %q, want %q", got, c.want)
			}
		})
	}
}

// TestResealingTellsOfArchivesAtOnce has a leader that has just sealed all records
// anew, and an archive that nobody has copied to since.
func TestResealingTellsOfArchivesAtOnce(t *testing.T) {
	t.Parallel()
	x := newCopied(t)
	x.fill(t, "a.test")
	cfg := x.cfg
	cfg.Leader.Eligible, cfg.Archives = true, []config.Archive{{Name: "disk", Directory: x.dir}}
	probs := newProblems(func() {})
	all, err := openArchives(cfg, x.store, probs, nil, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	defer all.close()
	v := &view{changed: func() {}}
	r := &resealing{log: hclog.NewNullLogger(), store: x.store, view: v, problems: probs, archives: all}
	key := x.store.Keys()[0]
	if err := r.reseal(t.Context(), holdLock(t, x.store), store.SealState{Key: key}); err != nil {
		t.Fatal(err)
	}
	if got := v.sealingNow(); !got.Done || got.Key != key || !slices.Equal(got.Behind, []string{"disk"}) {
		t.Errorf("reseal() tells %+v, want it done with disk behind: whoever reads it takes the old key away", got)
	}
}

// seenBy is the fleet as a host with this leaders' keyring sees it.
func (x copiedFleet) seenBy(t *testing.T, leaders *seal.Keyring) *store.Store {
	t.Helper()
	ring, err := seal.Load(x.cfg.KeyringFile)
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(store.Config{Fleet: x.cfg.Fleet, Address: x.cfg.Consul.Address, Log: testkit.Logger(t), Leaders: leaders}, ring)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// order puts an item with an order under way into the journal.
func order(t *testing.T, st *store.Store, name string) {
	t.Helper()
	now := time.Now()
	it, err := issuance.New([]string{name}, "", "", now)
	if err == nil {
		it, err = it.Begin(now)
	}
	if err == nil {
		it, err = it.Place(issuance.Order{CA: "ca", Key: fleet.NewSecret([]byte("a private key")), CSR: []byte("csr")}, now)
	}
	if err == nil {
		err = st.PutItems(t.Context(), []issuance.Item{it}, "")
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestArchivesAreBehindTheLeadersNewKey until account and orders are under it: what
// is in the archive then opens without the old one.
func TestArchivesAreBehindTheLeadersNewKey(t *testing.T) {
	t.Parallel()
	x := newCopied(t)
	old := newKeyring(t)
	x.store = x.seenBy(t, old)
	x.fill(t, "a.test")
	order(t, x.store, "ordered.test")
	session, now := holdLock(t, x.store), time.Now()
	if err := x.store.PutSealState(t.Context(), store.SealState{Key: x.store.Keys()[0], Leaders: old.Sealing()}, session); err != nil {
		t.Fatal(err)
	}
	c := x.copier(t)
	if err := c.pass(t.Context(), now); err != nil {
		t.Fatal(err)
	}

	both, err := old.Add(rand.Reader)
	if err == nil {
		both, err = both.Promote()
	}
	if err != nil {
		t.Fatal(err)
	}
	x.store = x.seenBy(t, both)
	c.store = x.store
	disk := &copying{name: "disk", log: hclog.NewNullLogger(), copier: c, wake: newWake()}
	disk.begin()
	v := &view{changed: func() {}}
	r := &resealing{log: hclog.NewNullLogger(), store: x.store, view: v, archives: &archives{list: []*copying{disk}}}
	want := store.SealState{Key: x.store.Keys()[0], Leaders: both.Sealing()}
	// As it was before: under the same key of the fleet, and the leaders' old one.
	disk.key, disk.leaders = c.manifest.Key, c.manifest.Leaders
	if err := r.reseal(t.Context(), session, want); err != nil {
		t.Fatal(err)
	}
	if lacks := archivesLack(sealingOf([]fleet.Report{{Sealing: v.sealingNow()}}), both.Sealing(), true); len(lacks) != 1 || lacks[0].Node != "archive disk" {
		t.Errorf("after the records in Consul were sealed anew the rotation waits for %v, want the archive", lacks)
	}

	disk.swept = now.Add(time.Hour)
	loaded := true
	if err := disk.once(t.Context(), &loaded); err != nil {
		t.Fatal(err)
	}
	r.finished(want)
	if lacks := archivesLack(sealingOf([]fleet.Report{{Sealing: v.sealingNow()}}), both.Sealing(), true); len(lacks) != 0 {
		t.Errorf("after a copy the rotation waits for %v, want nothing", lacks)
	}
	x.store = x.seenBy(t, both.Retire())
	if _, err := x.ReadArchive(t.Context(), "disk", nil); err != nil {
		t.Errorf("ReadArchive() without the leaders' old key = %v, want the copy", err)
	}
	x.store = x.seenBy(t, old)
	if _, err := x.ReadArchive(t.Context(), "disk", nil); !errors.Is(err, seal.ErrUnknownKey) {
		t.Errorf("ReadArchive() with the leaders' old key alone = %v, want %v", err, seal.ErrUnknownKey)
	}
}
