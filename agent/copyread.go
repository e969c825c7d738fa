package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/tlsfleet/tlsfleet/agent/archive"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/site"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// ErrCopy means that a copy is torn, damaged or of another fleet. Nothing of it
// is used.
var ErrCopy = errors.New("copy refused")

// copyReads is how many objects are read at a time.
const copyReads = 16

// readManifest reads what a copy consists of. Errors wrap archive.ErrMissing,
// archive.ErrForeign, archive.ErrManifest or store.ErrRecord.
func readManifest(ctx context.Context, from objects, s *store.Store, fleetName string) (archive.Manifest, error) {
	labelled, err := from.Get(ctx, archive.ManifestName)
	if err != nil {
		return archive.Manifest{}, err
	}
	sealed, err := archive.Unlabel(fleetName, labelled)
	if err != nil {
		return archive.Manifest{}, err
	}
	plain, err := s.OpenManifest(sealed)
	if err != nil {
		return archive.Manifest{}, err
	}
	m, err := archive.Decode(plain)
	if err == nil && m.Fleet != fleetName {
		err = fmt.Errorf("read manifest: %w: %q", archive.ErrForeign, m.Fleet)
	}
	if err == nil && m.Key == "" { // of a version that did not know
		m.Key, err = seal.SealedWith(sealed)
	}
	return m, err
}

// copyReader reads and checks a whole copy.
type copyReader struct {
	from     objects
	store    *store.Store
	manifest archive.Manifest
	progress func(done, total int)

	mu     sync.Mutex
	copied store.FleetCopy
	chains map[fleet.Hash][][]byte
	done   int
	keep   map[string][]byte // every object by its name; nil: not wanted
}

// readCopy reads a copy and checks all of it: every object is there, is the one
// that the manifest means, opens with the keyring for its place in this fleet,
// and fits the others. Errors wrap ErrCopy, but for those of an archive that
// cannot be reached.
func readCopy(ctx context.Context, from objects, s *store.Store, fleetName string, keep map[string][]byte, progress func(done, total int)) (store.FleetCopy, archive.Manifest, error) {
	m, err := readManifest(ctx, from, s, fleetName)
	if err != nil {
		return store.FleetCopy{}, m, refusedCopy(err)
	}
	r := &copyReader{
		from: from, store: s, manifest: m, progress: progress, keep: keep, chains: map[fleet.Hash][][]byte{},
		copied: store.FleetCopy{
			Singles: map[string][]byte{}, Chains: map[fleet.Hash][]byte{}, Bundles: map[fleet.Hash][]byte{},
			Shards: map[int]inventory.Shard{}, Items: map[string][]byte{}, Sites: map[string]site.Site{},
		},
	}
	for _, part := range []func(context.Context) error{r.singles, r.shards, r.bundles, r.items} {
		if err := part(ctx); err != nil {
			return store.FleetCopy{}, m, refusedCopy(err)
		}
	}
	return r.copied, m, nil
}

// refusedCopy marks an error that the copy is to blame for.
func refusedCopy(err error) error {
	for _, own := range []error{archive.ErrMissing, archive.ErrForeign, archive.ErrManifest, store.ErrRecord, store.ErrSchema, errCopied} {
		if errors.Is(err, own) {
			return fmt.Errorf("%w: %w", ErrCopy, err)
		}
	}
	return err
}

// errCopied is an object that is not what it should be.
var errCopied = errors.New("not the object that was copied")

// get reads the object with a digest that was sealed for a path.
func (r *copyReader) get(ctx context.Context, path string, d archive.Digest) ([]byte, error) {
	data, err := r.object(ctx, d.Name(path))
	if err == nil && archive.DigestOf(data) != d {
		err = fmt.Errorf("get %s: %w: it was altered or cut", path, errCopied)
	}
	return data, err
}

func (r *copyReader) object(ctx context.Context, name string) ([]byte, error) {
	data, err := r.from.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.keep != nil {
		r.keep[name] = data
	}
	r.done++
	if r.progress != nil {
		r.progress(r.done, max(r.done, r.total()))
	}
	return data, nil
}

// total is how many objects there are, as far as is known.
func (r *copyReader) total() int {
	return len(r.manifest.Records) + inventory.Shards + r.manifest.Names + r.manifest.Items
}

// singles reads the records that there is one of, and the sites.
func (r *copyReader) singles(ctx context.Context) error {
	for path, d := range r.manifest.Records {
		sealed, err := r.get(ctx, path, d)
		if err != nil {
			return err
		}
		if err := r.single(path, sealed); err != nil {
			return err
		}
	}
	if r.copied.Head.Epoch != r.manifest.Epoch {
		return fmt.Errorf("get %s: %w: it is at epoch %d, the manifest at %d", store.HeadPath, errCopied, r.copied.Head.Epoch, r.manifest.Epoch)
	}
	return nil
}

func (r *copyReader) single(path string, sealed []byte) (err error) {
	id, isSite := store.SiteOf(path)
	switch {
	case path == store.HeadPath:
		r.copied.Head, err = r.store.OpenHead(sealed)
	case path == store.SiteHeadPath:
		r.copied.SiteHead, err = r.store.OpenSiteHead(sealed)
	case isSite:
		var rec store.SiteRecord
		rec, err = r.store.OpenSite(id, sealed)
		r.copied.Sites[id] = rec.Site
	default:
		err = r.store.CheckSingle(path, sealed)
		r.copied.Singles[path] = sealed
	}
	return err
}

// shards reads the shards in the versions that the head names.
func (r *copyReader) shards(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(copyReads)
	for n, d := range r.manifest.Shards {
		if d == (archive.Digest{}) {
			if r.copied.Head.Shards[n] != 0 {
				return errors.Join(fmt.Errorf("get %s: %w: it is not in the manifest", store.ShardPath(n), errCopied), group.Wait())
			}
			continue
		}
		group.Go(func() error {
			sealed, err := r.get(ctx, store.ShardPath(n), d)
			if err != nil {
				return err
			}
			shard, err := r.store.OpenShard(n, sealed)
			if err == nil && shard.Epoch != r.copied.Head.Shards[n] {
				err = fmt.Errorf("get %s: %w: it is at epoch %d, the head says %d", store.ShardPath(n), errCopied, shard.Epoch, r.copied.Head.Shards[n])
			}
			if err != nil {
				return err
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.copied.Shards[n] = shard
			return nil
		})
	}
	return group.Wait()
}

// bundles reads what names are served with, and the chains of that.
func (r *copyReader) bundles(ctx context.Context) error {
	named := map[fleet.Hash]bool{}
	for _, shard := range r.copied.Shards {
		for hash := range bundlesOf(shard) {
			named[hash] = true
		}
	}
	for _, hash := range r.manifest.Lost {
		delete(named, hash)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(copyReads)
	for hash := range named {
		group.Go(func() error { return r.bundle(ctx, hash) })
	}
	return group.Wait()
}

func (r *copyReader) bundle(ctx context.Context, hash fleet.Hash) error {
	sealed, err := r.object(ctx, store.BundlePath(hash))
	if err == nil {
		err = r.store.CheckBundle(hash, sealed, func(chain fleet.Hash) ([][]byte, error) { return r.chain(ctx, chain) })
	}
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.copied.Bundles[hash] = sealed
	return nil
}

// chain reads a chain, once if nobody else asks at the same time.
func (r *copyReader) chain(ctx context.Context, hash fleet.Hash) ([][]byte, error) {
	if hash.IsZero() {
		return nil, nil
	}
	r.mu.Lock()
	chain, known := r.chains[hash]
	r.mu.Unlock()
	if known {
		return chain, nil
	}
	sealed, err := r.object(ctx, store.ChainPath(hash))
	if err == nil {
		chain, err = r.store.OpenChain(hash, sealed)
	}
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.chains[hash], r.copied.Chains[hash] = chain, sealed
	return chain, nil
}

// items reads the journal.
func (r *copyReader) items(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(copyReads)
	for n, d := range r.manifest.Pages {
		if d == (archive.Digest{}) {
			continue
		}
		group.Go(func() error {
			page, err := r.page(ctx, n, d)
			if err != nil {
				return err
			}
			for _, id := range slices.Sorted(maps.Keys(page)) {
				if err := r.item(ctx, n, id, page[id]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if len(r.copied.Items) != r.manifest.Items {
		return fmt.Errorf("get items: %w: %d, the manifest says %d", errCopied, len(r.copied.Items), r.manifest.Items)
	}
	return nil
}

func (r *copyReader) page(ctx context.Context, n int, d archive.Digest) (archive.Page, error) {
	data, err := r.get(ctx, store.PagePath(n), d)
	if err != nil {
		return nil, err
	}
	page, err := archive.DecodePage(data)
	if err == nil && !bytes.Equal(page.Encode(), data) {
		err = fmt.Errorf("get %s: %w: not in canonical form", store.PagePath(n), errCopied)
	}
	return page, err
}

func (r *copyReader) item(ctx context.Context, page int, id string, d archive.Digest) error {
	path := store.ItemPath(id)
	if !strings.HasPrefix(path, store.PagePath(page)+"/") {
		return fmt.Errorf("get %s: %w: it is listed in page %02x", path, errCopied, page)
	}
	sealed, err := r.get(ctx, path, d)
	if err == nil {
		_, err = r.store.OpenItem(id, sealed)
	}
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.copied.Items[id] = sealed
	return nil
}

// bundlesOf is what the names of a shard are served with.
func bundlesOf(s inventory.Shard) map[fleet.Hash]bool {
	named := map[fleet.Hash]bool{}
	for _, e := range s.Entries {
		if !e.Removed {
			named[e.Bundle] = true
		}
	}
	return named
}
