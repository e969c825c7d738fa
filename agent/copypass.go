package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/tlsfleet/tlsfleet/agent/archive"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/site"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

const (
	copyWrites  = 8                // objects written at a time
	copyShards  = 32               // shards in memory at a time
	copyTimeout = 30 * time.Second // of one request to an archive
	mostLost    = 1000             // bundles that a copy may lack because Consul has lost them
	copyTries   = 20               // passes in a row that meet changes
)

var (
	// errMoved means that the inventory was changed while it was copied.
	errMoved = errors.New("the inventory was changed meanwhile")
	// errShrunk means that Consul has lost what the copy has.
	errShrunk = errors.New("less is in Consul than in the copy, which stays as it is")
)

// copier brings the copy in one archive to what is in Consul. Its work is that
// of what has changed since the manifest was written.
type copier struct {
	log    hclog.Logger
	store  *store.Store
	fleet  string
	target archive.Archive

	manifest archive.Manifest
	head     inventory.Head      // that of the manifest; zero: not known, everything is copied
	siteHead site.Head           // the same of sites, without those that are not copied as it says
	have     map[string]bool     // bundles and chains that are known to be there
	dirty    map[string]bool     // IDs of items that may have changed
	scan     bool                // any item may have changed
	pending  func(objects int)   // told how many objects are known to wait
	lost     map[fleet.Hash]bool // see Manifest.Lost
	key      string              // see Manifest.Key
	leaders  string              // see Manifest.Leaders
}

// load begins with what is in the archive. A damaged copy of this fleet is
// begun anew; one of another fleet is an error.
func (c *copier) load(ctx context.Context) error {
	c.manifest, c.head, c.siteHead, c.scan = archive.Manifest{Fleet: c.fleet}, inventory.Head{}, site.Head{}, true
	c.have, c.dirty, c.lost = map[string]bool{}, map[string]bool{}, map[fleet.Hash]bool{}
	m, err := readManifest(ctx, timely{c.target}, c.store, c.fleet)
	switch {
	case errors.Is(err, archive.ErrMissing) && len(c.store.Keys()) > 1:
		return nil // what is there may be under a key that goes
	case errors.Is(err, archive.ErrMissing):
		return c.list(ctx)
	case errors.Is(err, archive.ErrManifest), errors.Is(err, store.ErrRecord) && !unknownKey(err):
		c.log.Error("copy is damaged, beginning anew", "err", err)
		return nil
	case err != nil:
		return err
	}
	c.manifest = m
	for _, hash := range m.Lost {
		c.lost[hash] = true
	}
	if c.head, err = loadHead(ctx, c, store.HeadPath, c.store.OpenHead); err != nil {
		return err
	}
	c.siteHead, err = loadHead(ctx, c, store.SiteHeadPath, c.store.OpenSiteHead)
	return err
}

// loadHead reads a head in the archive; without a usable one it is the zero
// value, so that everything is copied.
func loadHead[T any](ctx context.Context, c *copier, path string, open func(sealed []byte) (T, error)) (T, error) {
	var none T
	d, ok := c.manifest.Records[path]
	if !ok {
		return none, nil
	}
	sealed, err := timely{c.target}.Get(ctx, d.Name(path))
	if err == nil {
		var head T
		if head, err = open(sealed); err == nil {
			return head, nil
		}
	}
	if !errors.Is(err, archive.ErrMissing) && !errors.Is(err, store.ErrRecord) {
		return none, err
	}
	c.log.Error("copy is damaged, copying everything", "path", path, "err", err)
	return none, nil
}

// chainFolder is where chains are.
var chainFolder = path.Dir(store.ChainPath(fleet.Hash{})) + "/"

func isChain(name string) bool { return strings.HasPrefix(name, chainFolder) }

// list finds what a first copy that broke off has left.
func (c *copier) list(ctx context.Context) error {
	for _, prefix := range []string{path.Dir(store.BundlePath(fleet.Hash{})) + "/", chainFolder} {
		if err := c.target.List(ctx, prefix, func(o archive.Object) { c.have[o.Name] = true }); err != nil {
			return err
		}
	}
	return nil
}

// pass copies what has changed, and then says so in the manifest.
func (c *copier) pass(ctx context.Context, now time.Time) error {
	if err := c.underKey(ctx); err != nil {
		return err
	}
	next := c.manifest
	next.Key, next.Leaders = c.key, c.leaders
	next.Records = map[string]archive.Digest{}
	head, err := c.store.Head(ctx)
	if err != nil && !errors.Is(err, store.ErrMissing) {
		return err
	}
	if head.Head.Epoch < c.manifest.Epoch {
		return fmt.Errorf("%w: epoch %d in Consul, %d copied: see tlsfleet restore-fleet", errShrunk, head.Head.Epoch, c.manifest.Epoch)
	}
	if err == nil {
		if err := c.shards(ctx, head.Head, &next); err != nil {
			return err
		}
		d, err := c.put(ctx, store.HeadPath, head.Sealed, c.manifest.Records[store.HeadPath])
		if err != nil {
			return err
		}
		next.Records[store.HeadPath], next.Epoch, next.Names = d, head.Head.Epoch, head.Head.Names
	}
	siteHead, err := c.sites(ctx, &next)
	if err != nil {
		return err
	}
	if err := c.singles(ctx, &next); err != nil {
		return err
	}
	done, err := c.items(ctx, &next)
	if err != nil {
		return err
	}
	next.Lost, next.At = c.lostNow(), now
	if c.differs(next) {
		if err := c.finish(ctx, next); err != nil {
			return err
		}
	} else {
		next.At = c.manifest.At
	}
	c.manifest, c.head, c.siteHead = next, head.Head, siteHead
	for id := range done {
		delete(c.dirty, id)
	}
	c.scan = false
	return nil
}

// underKey looks which keys the records in Consul are sealed with. A copy from
// before is made anew as a whole: its bundles and chains do not change otherwise,
// and would be lost with the old key. Of what is under the leaders' key all items
// are looked at, because nobody says which of them were sealed anew.
func (c *copier) underKey(ctx context.Context) error {
	state, err := c.store.SealState(ctx)
	if err != nil && !errors.Is(err, store.ErrDenied) {
		return err
	}
	c.key, c.leaders = c.manifest.Key, c.manifest.Leaders
	if state.Key != "" {
		c.key, c.leaders = state.Key, state.Leaders
	}
	c.scan = c.scan || c.leaders != c.manifest.Leaders
	if c.key == c.manifest.Key {
		return nil
	}
	if c.manifest.Key != "" {
		c.log.Info("records are sealed with another key, copying everything anew", "key", c.key)
		c.head, c.siteHead, c.scan = inventory.Head{}, site.Head{}, true
		clear(c.have)
	}
	return nil
}

// differs reports whether a manifest says something new.
func (c *copier) differs(m archive.Manifest) bool {
	was := c.manifest
	return was.At.IsZero() || m.Epoch != was.Epoch || m.Names != was.Names || m.Items != was.Items || m.Key != was.Key || m.Leaders != was.Leaders ||
		m.Shards != was.Shards || m.Pages != was.Pages || !maps.Equal(m.Records, was.Records) || !slices.Equal(m.Lost, was.Lost)
}

// finish writes the manifest.
func (c *copier) finish(ctx context.Context, m archive.Manifest) error {
	plain, err := m.Encode()
	if err != nil {
		return err
	}
	sealed, err := c.store.SealManifest(plain)
	if err != nil {
		return err
	}
	return timely{c.target}.Put(ctx, archive.ManifestName, archive.Label(c.fleet, sealed))
}

// put writes one version of a record, unless it is there.
func (c *copier) put(ctx context.Context, path string, sealed []byte, was archive.Digest) (archive.Digest, error) {
	d := archive.DigestOf(sealed)
	if d == was {
		return d, nil
	}
	return d, timely{c.target}.Put(ctx, d.Name(path), sealed)
}

// singles copies the records that there is one of. Missing is not deleted.
func (c *copier) singles(ctx context.Context, next *archive.Manifest) error {
	paths := store.SinglePaths()
	var failed error
	err := c.store.Sealed(ctx, paths, func(i int, sealed []byte, err error) {
		was, had := c.manifest.Records[paths[i]]
		switch {
		case err == nil:
			err = c.store.CheckSingle(paths[i], sealed)
		case errors.Is(err, store.ErrMissing):
			if had {
				next.Records[paths[i]] = was
			}
			return
		}
		if err == nil {
			next.Records[paths[i]], err = c.put(ctx, paths[i], sealed, was)
		}
		failed = errors.Join(failed, err)
	})
	return errors.Join(err, failed)
}

// shards copies the shards that moved, after what their names are served with.
func (c *copier) shards(ctx context.Context, head inventory.Head, next *archive.Manifest) error {
	var moved []int
	for n, epoch := range head.Shards {
		if epoch != c.head.Shards[n] || epoch > 0 && next.Shards[n] == (archive.Digest{}) {
			moved = append(moved, n)
		}
	}
	c.tell(len(moved))
	for part := range slices.Chunk(moved, copyShards) {
		records, bad, err := c.store.Shards(ctx, part)
		if err != nil {
			return err
		}
		for _, n := range part {
			if bad[n] != nil {
				return bad[n]
			}
		}
		for _, rec := range records {
			if got, want := rec.Shard.Epoch, head.Shards[rec.Shard.Number]; got != want {
				return fmt.Errorf("copy shard %d: %w: epoch %d, the head says %d", rec.Shard.Number, errMoved, got, want)
			}
		}
		if err := c.copyShards(ctx, records, next); err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) copyShards(ctx context.Context, records []store.ShardRecord, next *archive.Manifest) error {
	var wanted []fleet.Hash
	for _, rec := range records {
		n := rec.Shard.Number
		old := map[fleet.Hash]bool{}
		if d := c.manifest.Shards[n]; d != (archive.Digest{}) && c.head.Epoch > 0 {
			if have, err := c.copied(ctx, n, d); err == nil {
				old = have // else they are all copied again
			}
		}
		for hash := range bundlesOf(rec.Shard) {
			if !old[hash] || c.lost[hash] {
				wanted = append(wanted, hash)
			}
		}
	}
	if err := c.bundles(ctx, wanted); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(copyWrites)
	for _, rec := range records {
		n := rec.Shard.Number
		group.Go(func() (err error) {
			next.Shards[n], err = c.put(ctx, store.ShardPath(n), rec.Sealed, c.manifest.Shards[n])
			return err
		})
	}
	return group.Wait()
}

// bundles copies bundles and the chains of those.
func (c *copier) bundles(ctx context.Context, hashes []fleet.Hash) error {
	var paths []string
	var of []fleet.Hash
	for _, hash := range hashes {
		if path := store.BundlePath(hash); !c.have[path] {
			paths, of = append(paths, path), append(of, hash)
		}
	}
	c.tell(len(paths))
	for len(paths) > 0 {
		n := min(len(paths), 256)
		if err := c.someBundles(ctx, paths[:n], of[:n]); err != nil {
			return err
		}
		paths, of = paths[n:], of[n:]
	}
	return nil
}

func (c *copier) someBundles(ctx context.Context, paths []string, of []fleet.Hash) error {
	group, writing := errgroup.WithContext(ctx)
	group.SetLimit(copyWrites)
	chains := map[fleet.Hash]bool{}
	var failed error
	err := c.store.Sealed(ctx, paths, func(i int, sealed []byte, err error) {
		var chain fleet.Hash
		if err == nil {
			chain, err = c.store.ChainOf(of[i], sealed)
		}
		switch {
		case err == nil:
			delete(c.lost, of[i])
			if !chain.IsZero() && !c.have[store.ChainPath(chain)] {
				chains[chain] = true
			}
			group.Go(func() error { return timely{c.target}.Put(writing, paths[i], sealed) })
		case errors.Is(err, store.ErrMissing), errors.Is(err, store.ErrRecord):
			c.log.Error("bundle cannot be copied", "path", paths[i], "err", err)
			c.lost[of[i]] = true
		default:
			failed = errors.Join(failed, err)
		}
	})
	if err := errors.Join(err, failed, group.Wait()); err != nil {
		return err
	}
	if len(c.lost) > mostLost {
		return fmt.Errorf("copy bundles: %d are missing or spoiled in Consul: restore them, or import the certificates again", len(c.lost))
	}
	for chain := range chains {
		if err := c.chain(ctx, chain); err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) chain(ctx context.Context, hash fleet.Hash) error {
	path := store.ChainPath(hash)
	var failed error
	err := c.store.Sealed(ctx, []string{path}, func(_ int, sealed []byte, err error) {
		if err == nil {
			_, err = c.store.OpenChain(hash, sealed)
		}
		if err == nil {
			err = timely{c.target}.Put(ctx, path, sealed)
		}
		failed = err
	})
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	c.have[path] = true
	return nil
}

// lostNow is Manifest.Lost.
func (c *copier) lostNow() []fleet.Hash {
	list := make([]fleet.Hash, 0, len(c.lost))
	for hash := range c.lost {
		list = append(list, hash)
	}
	slices.SortFunc(list, func(a, b fleet.Hash) int { return bytes.Compare(a[:], b[:]) })
	return list
}

func (c *copier) tell(objects int) {
	if c.pending != nil {
		c.pending(objects)
	}
}

// timely bounds every request to an archive.
type timely struct{ archive.Archive }

func (t timely) Put(ctx context.Context, name string, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, copyTimeout)
	defer cancel()
	return t.Archive.Put(ctx, name, data)
}

func (t timely) Get(ctx context.Context, name string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, copyTimeout)
	defer cancel()
	return t.Archive.Get(ctx, name)
}
