package renderer

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// syncfsAt is from how many bundles or records on the whole file system is
// synchronized once instead of each file.
const syncfsAt = 16

// PutBundle writes the files of a bundle into StateDir/store, where they stay
// until CollectBundles. It is not served before SetLive. A bundle that is
// there already is left as it is; one whose files were changed by others is
// replaced as a whole. The bundle is not checked, except that it has the hash.
func (r *Renderer) PutBundle(hash fleet.Hash, b bundle.Bundle) error {
	return r.PutBundles(map[fleet.Hash]bundle.Bundle{hash: b})[hash]
}

// PutBundles is PutBundle for several at once, much faster for many. It returns
// those that cannot be written, with why; all others are in place.
func (r *Renderer) PutBundles(bundles map[fleet.Hash]bundle.Bundle) map[fleet.Hash]error {
	r.certs.Lock()
	defer r.certs.Unlock()
	failed := map[fleet.Hash]error{}
	fail := func(hash fleet.Hash, err error) { failed[hash] = fmt.Errorf("put bundle %s: %w", hash, err) }
	var store folder
	err := r.admit(nil)
	if err == nil {
		store, err = openFolder(r.cfg.storeDir())
	}
	if err != nil {
		for hash := range bundles {
			fail(hash, err)
		}
		return failed
	}
	defer store.close()
	for hash := range bundles {
		delete(r.orphans, hash)
	}
	each := len(bundles) < syncfsAt
	staged := r.stageBundles(store, bundles, each, fail)
	if len(staged) == 0 {
		return failed
	}
	if !each {
		if err := syncAll(r.cfg.storeDir()); err != nil {
			err = errors.Join(err, r.openTree())
			for hash := range staged {
				fail(hash, err)
			}
			return failed
		}
	}
	r.step(StepBundleStaged)
	r.settleBundles(store, staged, fail)
	r.step(StepBundlePut)
	return failed
}

// settleBundles renames what is staged to its place.
func (r *Renderer) settleBundles(store folder, staged map[fleet.Hash]string, fail func(fleet.Hash, error)) {
	for hash, temp := range staged {
		if err := r.settleIn(store, temp, hash.String()); err != nil {
			fail(hash, err)
		}
	}
	if err := syncDir(r.cfg.storeDir()); err != nil {
		for hash := range staged {
			fail(hash, err)
		}
	}
}

// stageBundles stages those that are not in place, on all processors. The
// caller holds r.certs.
func (r *Renderer) stageBundles(store folder, bundles map[fleet.Hash]bundle.Bundle, durable bool, fail func(fleet.Hash, error)) map[fleet.Hash]string {
	var mu sync.Mutex
	staged := make(map[fleet.Hash]string, len(bundles))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for part := range slices.Chunk(slices.Collect(maps.Keys(bundles)), stageAtOnce) {
		g.Go(func() error {
			m := maker{store: store, gid: *r.group, needs: map[string]need{}}
			for _, hash := range part {
				temp, err := r.stageBundle(&m, hash, bundles[hash], durable)
				mu.Lock()
				if err != nil {
					fail(hash, err)
				} else if temp != "" {
					staged[hash] = temp
				}
				mu.Unlock()
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		r.cfg.Log.Error("bundles not staged", "err", err)
	}
	return staged
}

// stageAtOnce is how many bundles one goroutine stages in a row.
const stageAtOnce = 64

// stageBundle writes a bundle's files into a temporary folder in the store, and
// returns its name; no folder if the bundle is in place. sync makes the files
// durable.
func (r *Renderer) stageBundle(m *maker, hash fleet.Hash, b bundle.Bundle, sync bool) (temp string, _ error) {
	if got := bundle.Hash(b); got != hash || hash.IsZero() {
		return "", fmt.Errorf("it has the hash %s", got)
	}
	key := bundle.KeyPEM(b).Reveal()
	defer clear(key)
	files := []bundleFile{{fullchainFile, bundle.FullchainPEM(b), 0o644}, {privkeyFile, key, 0o640}}
	name := hash.String()
	if done, err := r.keepBundle(m.store, name, files); done || err != nil {
		return "", err
	}
	temp = stagePrefix + name
	if err := m.bundle(temp, files, sync); err != nil {
		return "", errors.Join(err, os.RemoveAll(m.store.in(temp)))
	}
	return temp, nil
}

// bundle writes the files into a new temporary folder of the store.
func (m *maker) bundle(temp string, files []bundleFile, sync bool) error {
	err := m.folder(temp, "", 0o710)
	if errors.Is(err, fs.ErrExist) { // left by a write that failed
		if err = os.RemoveAll(m.store.in(temp)); err == nil {
			err = m.folder(temp, "", 0o710)
		}
	}
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := m.file(temp, f, sync); err != nil {
			return err
		}
	}
	if err := m.folder(temp+"/"+rootDir, rootDir, 0o750); err != nil || !sync {
		return err
	}
	return syncDir(m.store.in(temp))
}
