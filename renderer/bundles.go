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
	return r.putBundles(bundles, true)
}

// PutNewBundles is PutBundles for bundles that the caller knows not to be there:
// it does not look for them. One that is there after all is replaced by its like.
func (r *Renderer) PutNewBundles(bundles map[fleet.Hash]bundle.Bundle) map[fleet.Hash]error {
	return r.putBundles(bundles, false)
}

func (r *Renderer) putBundles(bundles map[fleet.Hash]bundle.Bundle, look bool) map[fleet.Hash]error {
	failed := map[fleet.Hash]error{}
	if len(bundles) == 0 {
		return failed
	}
	r.certs.Lock()
	defer r.certs.Unlock()
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
	staged := r.stageBundles(maker{store: store, gid: *r.group, look: look, sync: each}, bundles, fail)
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
	r.fresh = make(map[fleet.Hash]bool, len(staged))
	for hash, temp := range staged {
		if err := r.settleIn(store, temp, hash.String()); err != nil {
			fail(hash, err)
			continue
		}
		r.fresh[hash] = true
	}
	if err := syncDir(r.cfg.storeDir()); err != nil {
		for hash := range staged {
			fail(hash, err)
		}
	}
}

// stageBundles stages those that are not in place, on all processors, each with
// a maker like this one. The caller holds r.certs.
func (r *Renderer) stageBundles(like maker, bundles map[fleet.Hash]bundle.Bundle, fail func(fleet.Hash, error)) map[fleet.Hash]string {
	var mu sync.Mutex
	staged := make(map[fleet.Hash]string, len(bundles))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for part := range slices.Chunk(slices.Collect(maps.Keys(bundles)), stageAtOnce) {
		g.Go(func() error {
			m := like
			m.needs = map[string]need{}
			for _, hash := range part {
				temp, err := r.stageBundle(&m, hash, bundles[hash])
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
// returns its name; no folder if the bundle is in place.
func (r *Renderer) stageBundle(m *maker, hash fleet.Hash, b bundle.Bundle) (temp string, _ error) {
	if got := m.series.Hash(b); got != hash || hash.IsZero() {
		return "", fmt.Errorf("it has the hash %s", got)
	}
	m.chain, m.key = m.series.AppendFullchainPEM(m.chain[:0], b), bundle.AppendKeyPEM(m.key[:0], b)
	defer clear(m.key)
	files := []bundleFile{{fullchainFile, m.chain, 0o644}, {privkeyFile, m.key, 0o640}}
	name := hash.String()
	if m.look {
		if done, err := r.keepBundle(m.store, name, files); done || err != nil {
			return "", err
		}
	}
	temp = stagePrefix + name
	if err := m.bundle(temp, files); err != nil {
		return "", errors.Join(err, os.RemoveAll(m.store.in(temp)))
	}
	return temp, nil
}

// bundle writes the files into a new temporary folder of the store.
func (m *maker) bundle(temp string, files []bundleFile) error {
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
		if err := m.file(temp, f); err != nil {
			return err
		}
	}
	if err := m.folder(temp+"/"+rootDir, rootDir, 0o750); err != nil || !m.sync {
		return err
	}
	return syncDir(m.store.in(temp))
}
