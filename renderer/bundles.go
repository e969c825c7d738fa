package renderer

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// syncfsAt is from how many bundles on the whole file system is synchronized
// once instead of each file.
const syncfsAt = 16

// PutBundle writes the files of a bundle into StateDir/store, where they stay
// until CollectBundles. It is not served before SetLive. A bundle that is
// there already is left as it is; one whose files were changed by others is
// replaced as a whole. The bundle is not checked, except that it has the hash.
func (r *Renderer) PutBundle(hash fleet.Hash, b bundle.Bundle) error {
	return r.PutBundles(map[fleet.Hash]bundle.Bundle{hash: b})
}

// PutBundles is PutBundle for several at once, much faster for many. Those
// that cannot be written are named in the error; all others are in place.
func (r *Renderer) PutBundles(bundles map[fleet.Hash]bundle.Bundle) error {
	r.certs.Lock()
	defer r.certs.Unlock()
	if err := r.admit(nil); err != nil {
		return fmt.Errorf("put bundles: %w", err)
	}
	each := len(bundles) < syncfsAt
	var errs []error
	staged := map[fleet.Hash]string{}
	for hash, b := range bundles {
		temp, err := r.stageBundle(hash, b, each)
		if err != nil {
			errs = append(errs, fmt.Errorf("put bundle %s: %w", hash, err))
		} else if temp != "" {
			staged[hash] = temp
		}
		delete(r.orphans, hash)
	}
	if len(staged) == 0 {
		return errors.Join(errs...)
	}
	if !each {
		if err := syncAll(r.cfg.storeDir()); err != nil {
			return errors.Join(append(errs, fmt.Errorf("put bundles: %w", err), r.openTree())...)
		}
	}
	r.step(StepBundleStaged)
	for _, hash := range slices.SortedFunc(maps.Keys(staged), func(a, b fleet.Hash) int { return bytes.Compare(a[:], b[:]) }) {
		if err := r.settle(staged[hash], r.cfg.bundleDir(hash)); err != nil {
			errs = append(errs, fmt.Errorf("put bundle %s: %w", hash, err))
		}
	}
	errs = append(errs, syncDir(r.cfg.storeDir()))
	r.step(StepBundlePut)
	return errors.Join(errs...)
}

// stageBundle writes a bundle's files into a temporary folder in the store; no
// folder if the bundle is in place. sync makes the files durable.
func (r *Renderer) stageBundle(hash fleet.Hash, b bundle.Bundle, sync bool) (temp string, _ error) {
	if got := bundle.Hash(b); got != hash || hash.IsZero() {
		return "", fmt.Errorf("it has the hash %s", got)
	}
	key := bundle.KeyPEM(b).Reveal()
	defer clear(key)
	files := []bundleFile{{fullchainFile, bundle.FullchainPEM(b), 0o644}, {privkeyFile, key, 0o640}}
	if done, err := r.keepBundle(hash, files); done || err != nil {
		return "", err
	}
	return r.fillBundle(files, sync)
}

// fillBundle writes the files into a new temporary folder.
func (r *Renderer) fillBundle(files []bundleFile, sync bool) (string, error) {
	temp, err := os.MkdirTemp(r.cfg.storeDir(), stagePrefix)
	if err != nil {
		return "", err
	}
	for _, f := range files {
		err = errors.Join(err, f.create(temp, *r.group, sync))
	}
	if err == nil {
		err = createDir(filepath.Join(temp, rootDir), *r.group, 0o750)
	}
	if err == nil {
		err = setAccess(temp, *r.group, 0o710)
	}
	if err == nil && sync {
		err = syncDir(temp)
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(temp))
	}
	return temp, nil
}
