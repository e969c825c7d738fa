package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/archive"
	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/site"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// copiedFleet is a fleet in Consul with a folder as archive.
type copiedFleet struct {
	*Copies
	dir string // of the archive
}

func newCopied(t *testing.T) copiedFleet {
	t.Helper()
	dir := t.TempDir()
	keyring := filepath.Join(dir, "keyring")
	if _, err := seal.Create(keyring); err != nil {
		t.Fatal(err)
	}
	x := copiedFleet{dir: filepath.Join(dir, "archive")}
	cfg := config.Config{
		Fleet: testkit.FleetName(t), KeyringFile: keyring, Consul: config.Consul{Address: testkit.SharedConsul(t).Addr},
		Archives: []config.Archive{{Name: "disk", Directory: x.dir}},
	}
	var err error
	if x.Copies, err = OpenCopies(cfg, hclog.NewNullLogger()); err != nil {
		t.Fatal(err)
	}
	if err := x.store.EnsureMeta(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	return x
}

// fill makes names with certificates, items of the journal and, at first, sites
// and an account.
func (x copiedFleet) fill(t *testing.T, names ...string) {
	t.Helper()
	now := time.Now()
	var edit store.Edit
	var items []issuance.Item
	for _, name := range names {
		edit.Put = append(edit.Put, selfSigned(t, name, now))
		it, err := issuance.New([]string{name}, "default", "", now)
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, it)
	}
	edit.Now = now
	if _, err := x.store.EditInventory(t.Context(), edit, "", nil); err != nil {
		t.Fatal(err)
	}
	if err := x.store.PutItems(t.Context(), items, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := x.store.SiteHead(t.Context()); errors.Is(err, store.ErrMissing) {
		var sites []site.Site
		for _, name := range names {
			sites = append(sites, aSite(name))
		}
		x.editSites(t, store.SiteEdit{Put: sites})
	}
	if _, err := x.store.Account(t.Context()); errors.Is(err, store.ErrMissing) {
		if _, err := x.store.PutAccount(t.Context(), issuance.Account{Key: fleet.NewSecret([]byte("a key"))}, 0, ""); err != nil {
			t.Fatal(err)
		}
	}
}

func selfSigned(t *testing.T, name string, now time.Time) store.Certificate {
	t.Helper()
	cert, key := testkit.SelfSigned(t, name)
	b, err := bundle.FromPEM(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return store.Certificate{Bundle: b, Names: []string{name}, Entry: fleet.Entry{NotAfter: now.Add(time.Hour), Source: fleet.SourceImport}}
}

// state is what the fleet in Consul has: names with bundles, IDs of items.
func (x copiedFleet) state(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	head, err := x.store.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	records, bad, err := x.store.Shards(t.Context(), inventory.Changed(inventory.Head{}, head.Head))
	if err != nil || len(bad) > 0 {
		t.Fatal(err, bad)
	}
	for _, r := range records {
		for hash := range bundlesOf(r.Shard) {
			if _, err := x.store.Bundle(t.Context(), hash); err != nil {
				t.Errorf("Bundle(%s) = %v", hash, err)
			}
		}
		for _, e := range r.Shard.Entries {
			all[e.Name] = e.Bundle.String()
		}
	}
	bad2, err := x.store.Items(t.Context(), func(it issuance.Item) { all[it.ID()] = string(it.State) })
	if err != nil || len(bad2) > 0 {
		t.Fatal(err, bad2)
	}
	a, err := x.store.Account(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all["account"] = string(a.Account.Key.Reveal())
	return all
}

// wipe deletes all of the fleet's keys.
func (x copiedFleet) wipe(t *testing.T) {
	t.Helper()
	if _, err := x.store.Client().KV().DeleteTree("tlsfleet/"+x.cfg.Fleet+"/", nil); err != nil {
		t.Fatal(err)
	}
}

func (x copiedFleet) backup(t *testing.T, from string) []byte {
	t.Helper()
	var file bytes.Buffer
	if _, err := x.Backup(t.Context(), &file, from, nil); err != nil {
		t.Fatalf("Backup(%q) = %v", from, err)
	}
	return file.Bytes()
}

// copier is that of a leader, for the folder.
func (x copiedFleet) copier(t *testing.T) *copier {
	t.Helper()
	c := &copier{log: hclog.NewNullLogger(), store: x.store, fleet: x.cfg.Fleet, target: archive.Directory(x.dir)}
	if err := c.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func (x copiedFleet) archiveAll(t *testing.T) {
	t.Helper()
	if err := x.copier(t).pass(t.Context(), time.Now()); err != nil {
		t.Fatalf("pass() = %v", err)
	}
}

func TestFleetComesBackFromFileAndArchive(t *testing.T) {
	t.Parallel()
	x := newCopied(t)
	x.fill(t, "a.test", "b.test", "c.test")
	if _, err := x.store.EditInventory(t.Context(), store.Edit{Remove: []string{"c.test"}, Now: time.Now()}, "", nil); err != nil {
		t.Fatal(err)
	}
	want, sites := x.state(t), x.sites(t)
	x.archiveAll(t)
	sources := map[string]func() (*FleetCopy, error){
		"archive": func() (*FleetCopy, error) { return x.ReadArchive(t.Context(), "disk", nil) },
	}
	for name, file := range map[string][]byte{"file": x.backup(t, ""), "file from the archive": x.backup(t, "disk")} {
		sources[name] = func() (*FleetCopy, error) { return x.ReadFile(t.Context(), bytes.NewReader(file), nil) }
	}
	last := uint64(2)
	for name, read := range sources {
		x.wipe(t)
		c, err := read()
		if err != nil {
			t.Fatalf("from %s: read = %v", name, err)
		}
		if c.Info.Names != 2 || c.Info.Items != 3 || c.Info.Sites != 3 {
			t.Errorf("from %s: %+v, want 2 names, 3 items and 3 sites", name, c.Info)
		}
		if err := c.CheckVacant(t.Context()); err != nil {
			t.Errorf("from %s: CheckVacant() = %v", name, err)
		}
		done, err := c.Restore(t.Context(), "test", nil)
		if err != nil {
			t.Fatalf("from %s: Restore() = %v", name, err)
		}
		if got := x.state(t); !maps.Equal(got, want) {
			t.Errorf("from %s: the fleet has %v, want %v", name, got, want)
		}
		if got := x.sites(t); !reflect.DeepEqual(got, sites) {
			t.Errorf("from %s: the fleet has sites %+v, want %+v", name, got, sites)
		}
		head, err := x.store.Head(t.Context())
		if err != nil || head.Head.Epoch != done.Epoch || done.Epoch < last+1000 || head.Head.Names != 2 {
			t.Errorf("from %s: head = epoch %d with %d names, %v, want %d, far above %d, with 2", name, head.Head.Epoch, head.Head.Names, err, done.Epoch, last)
		}
		for n, epoch := range head.Head.Shards {
			if epoch != done.Epoch {
				t.Fatalf("from %s: shard %d is at epoch %d, want %d: a node may follow one that the copy does not have", name, n, epoch, done.Epoch)
			}
		}
		if q, err := x.store.Requests(t.Context()); err != nil || len(q) != 1 || q[0].Request.Do != issuance.Reread {
			t.Errorf("from %s: the leader is told %+v, %v, want to read again", name, q, err)
		}
		if err := c.CheckVacant(t.Context()); !errors.Is(err, store.ErrNewer) {
			t.Errorf("from %s: CheckVacant() after it = %v, want %v", name, err, store.ErrNewer)
		}
		last = done.Epoch - 1000 + 1 // the next one is above, although the copy is as old
	}
}

func TestRestoreIsRefusedWhereAFleetIs(t *testing.T) {
	t.Parallel()
	x := newCopied(t)
	x.fill(t, "a.test")
	c, err := x.ReadFile(t.Context(), bytes.NewReader(x.backup(t, "")), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CheckVacant(t.Context()); !errors.Is(err, store.ErrOccupied) {
		t.Errorf("CheckVacant() of the same fleet = %v, want %v", err, store.ErrOccupied)
	}
	x.fill(t, "b.test")
	if err := c.CheckVacant(t.Context()); !errors.Is(err, store.ErrNewer) {
		t.Errorf("CheckVacant() of a newer fleet = %v, want %v", err, store.ErrNewer)
	}
	x.wipe(t)
	it, err := issuance.New([]string{"new.test"}, "default", "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := x.store.PutItems(t.Context(), []issuance.Item{it}, ""); err != nil {
		t.Fatal(err)
	}
	if err := c.CheckVacant(t.Context()); !errors.Is(err, store.ErrOccupied) {
		t.Errorf("CheckVacant() of a journal = %v, want %v", err, store.ErrOccupied)
	}
}

// TestTornCopyIsRefusedWhole spoils each object of an archive in turn.
func TestTornCopyIsRefusedWhole(t *testing.T) {
	t.Parallel()
	x := newCopied(t)
	x.fill(t, "a.test", "b.test")
	x.archiveAll(t)
	var names []string
	if err := archive.Directory(x.dir).List(t.Context(), "", func(o archive.Object) { names = append(names, o.Name) }); err != nil || len(names) < 12 {
		t.Fatalf("the archive has %q, %v", names, err)
	}
	spoil := map[string]func([]byte) []byte{
		"missing":      func([]byte) []byte { return nil },
		"cut":          func(b []byte) []byte { return b[:len(b)-1] },
		"flipped byte": func(b []byte) []byte { b = bytes.Clone(b); b[len(b)/2] ^= 1; return b },
		"empty":        func([]byte) []byte { return []byte{} },
		"of another":   func([]byte) []byte { return bytes.Repeat([]byte("tlsf\x01"), 20) },
	}
	for _, name := range names {
		path := filepath.Join(x.dir, name)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for how, f := range spoil {
			if bad := f(whole); bad == nil {
				err = os.Remove(path)
			} else {
				err = os.WriteFile(path, bad, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := x.ReadArchive(t.Context(), "disk", nil); !errors.Is(err, ErrCopy) {
				t.Errorf("ReadArchive() with %s %s = %v, want %v", name, how, err, ErrCopy)
			}
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := x.ReadArchive(t.Context(), "disk", nil); err != nil {
		t.Errorf("ReadArchive() of the whole = %v", err)
	}
	x.wantNoOlderItem(t, "a.test")
	file := x.backup(t, "")
	for n := 0; n < len(file)-1024; n += 777 {
		if _, err := x.ReadFile(t.Context(), bytes.NewReader(file[:n]), nil); !errors.Is(err, ErrCopy) {
			t.Fatalf("ReadFile() of %d of %d bytes = %v, want %v", n, len(file), err, ErrCopy)
		}
	}
}

// wantNoOlderItem puts an item's version of before in the place of the one that
// the copy means. Its seal is good.
func (x copiedFleet) wantNoOlderItem(t *testing.T, name string) {
	t.Helper()
	id := issuance.ID([]string{name})
	object := func() string {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(x.dir, store.ItemPath(id)+".*"))
		if err != nil || len(found) != 1 {
			t.Fatalf("objects of %s are %q, %v, want one", name, found, err)
		}
		return found[0]
	}
	before := object()
	older, err := os.ReadFile(before)
	if err != nil {
		t.Fatal(err)
	}
	it, err := issuance.New([]string{name}, "default", "", time.Now().Add(time.Hour))
	if err == nil {
		err = x.store.PutItems(t.Context(), []issuance.Item{it}, "")
	}
	if err == nil {
		err = os.Remove(before)
	}
	if err != nil {
		t.Fatal(err)
	}
	x.archiveAll(t)
	now := object()
	newer, err := os.ReadFile(now)
	if err == nil {
		err = os.WriteFile(now, older, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.ReadArchive(t.Context(), "disk", nil); !errors.Is(err, ErrCopy) {
		t.Errorf("ReadArchive() with an older item = %v, want %v", err, ErrCopy)
	}
	if err := os.WriteFile(now, newer, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestForeignCopyIsRefused(t *testing.T) {
	t.Parallel()
	x, other := newCopied(t), newCopied(t)
	other.fill(t, "a.test")
	file := other.backup(t, "")
	if _, err := x.ReadFile(t.Context(), bytes.NewReader(file), nil); !errors.Is(err, ErrCopy) || !errors.Is(err, archive.ErrForeign) {
		t.Errorf("ReadFile() of another fleet = %v, want %v", err, archive.ErrForeign)
	}
	renamed := bytes.Replace(file, []byte("of fleet "+other.cfg.Fleet), []byte("of fleet "+x.cfg.Fleet), 1)
	if len(other.cfg.Fleet) == len(x.cfg.Fleet) {
		if _, err := x.ReadFile(t.Context(), bytes.NewReader(renamed), nil); !errors.Is(err, ErrCopy) {
			t.Errorf("ReadFile() of another fleet under this one's name = %v, want %v", err, ErrCopy)
		}
	}
	// A leader does not write over the copy of another fleet either.
	other.archiveAll(t)
	c := &copier{log: hclog.NewNullLogger(), store: x.store, fleet: x.cfg.Fleet, target: archive.Directory(other.dir)}
	if err := c.load(t.Context()); !errors.Is(err, archive.ErrForeign) {
		t.Errorf("load() of another fleet's archive = %v, want %v", err, archive.ErrForeign)
	}
}

// counting counts what is put.
type counting struct {
	archive.Archive
	puts *[]string
}

func (c counting) Put(ctx context.Context, name string, data []byte) error {
	*c.puts = append(*c.puts, name)
	return c.Archive.Put(ctx, name, data)
}

func TestAChangeCostsItsOwnObjects(t *testing.T) {
	t.Parallel()
	x := newCopied(t)
	var names []string
	for i := range 50 {
		names = append(names, fmt.Sprintf("n%d.test", i))
	}
	x.fill(t, names...)
	x.archiveAll(t)
	for when, fresh := range map[string]bool{"the same leader": false, "a new leader": true} {
		c := x.copier(t)
		if err := c.pass(t.Context(), time.Now()); err != nil { // which looks at all items once
			t.Fatal(err)
		}
		if fresh {
			c = x.copier(t)
		}
		var puts []string
		c.target = counting{c.target, &puts}
		name := strings.ReplaceAll(when, " ", "-") + ".test"
		x.fill(t, name)
		c.dirty[issuance.ID([]string{name})] = true
		if err := c.pass(t.Context(), time.Now()); err != nil {
			t.Fatalf("%s: pass() = %v", when, err)
		}
		// Bundle, shard, head, item, page, manifest; a self-signed one has no chain.
		if len(puts) != 6 || puts[len(puts)-1] != archive.ManifestName {
			t.Errorf("%s: one new name put %q, want 6 objects, the manifest last", when, puts)
		}
		if got, err := x.ReadArchive(t.Context(), "disk", nil); err != nil || got.Info.Names != len(x.state(t))/2 {
			t.Errorf("%s: ReadArchive() = %+v, %v", when, got, err)
		}
	}
}

func TestCopyOutlivesAWipe(t *testing.T) {
	t.Parallel()
	x := newCopied(t)
	x.fill(t, "a.test")
	x.fill(t, "b.test")
	x.archiveAll(t)
	same := x.copier(t)
	x.wipe(t)
	refused := func(state string) {
		t.Helper()
		for when, c := range map[string]*copier{"the leader of before": same, "a new leader": x.copier(t)} {
			if err := c.pass(t.Context(), time.Now()); !errors.Is(err, errShrunk) {
				t.Errorf("%s: pass() with %s = %v, want %v", when, state, err, errShrunk)
			}
		}
	}
	refused("an empty Consul")
	x.fill(t, "c.test")
	refused("a fleet that began anew")
	got, err := x.ReadArchive(t.Context(), "disk", nil)
	if err != nil || got.Info.Names != 2 || got.Info.Items != 2 {
		t.Fatalf("ReadArchive() = %+v, %v, want the names and the items of before", got, err)
	}
	if _, err := got.Restore(t.Context(), "test", nil); err != nil {
		t.Fatal(err)
	}
	if err := same.pass(t.Context(), time.Now()); err != nil {
		t.Errorf("pass() after the fleet was put back = %v", err)
	}
}

func TestSweepKeepsWhatTheCopyNeeds(t *testing.T) {
	t.Parallel()
	x := newCopied(t)
	x.fill(t, "a.test", "b.test")
	x.archiveAll(t)
	if _, err := x.store.EditInventory(t.Context(), store.Edit{Remove: []string{"b.test"}, Now: time.Now()}, "", nil); err != nil {
		t.Fatal(err)
	}
	c := x.copier(t)
	if err := c.pass(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if n, err := c.sweep(t.Context(), time.Hour); n != 0 || err != nil {
		t.Errorf("sweep() within the grace time = %d, %v, want 0", n, err)
	}
	// The bundle of b.test, its shard and the head of before.
	if n, err := c.sweep(t.Context(), 0); n != 3 || err != nil {
		t.Errorf("sweep() = %d, %v, want 3", n, err)
	}
	if got, err := x.ReadArchive(t.Context(), "disk", nil); err != nil || got.Info.Names != 1 {
		t.Errorf("ReadArchive() after it = %+v, %v, want the one name", got, err)
	}
	if err := os.Remove(filepath.Join(x.dir, c.manifest.Shards[inventory.ShardOf("a.test")].Name(store.ShardPath(inventory.ShardOf("a.test"))))); err != nil {
		t.Fatal(err)
	}
	if n, err := c.sweep(t.Context(), 0); n != 0 || err == nil {
		t.Errorf("sweep() of a torn copy = %d, %v, want nothing removed and an error", n, err)
	}
}
