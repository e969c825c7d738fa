package renderer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// orphan notes that a bundle was just replaced. The caller holds r.certs.
func (r *Renderer) orphan(hash fleet.Hash) { r.orphans[hash] = time.Now() }

// CollectBundles removes every bundle from the store that no name is served
// with, and that none was served with for at least keep, as far as this
// process knows: handshakes under way still read a replaced one. Spare bundles
// stay.
func (r *Renderer) CollectBundles(keep time.Duration, spare ...fleet.Hash) (removed int, err error) {
	r.certs.Lock()
	defer r.certs.Unlock()
	r.fresh = nil
	named, err := r.named()
	if err != nil {
		return 0, fmt.Errorf("collect bundles: %w", err)
	}
	for _, hash := range spare {
		named[hash] = true
	}
	stored, err := r.Stored()
	if err != nil {
		return 0, fmt.Errorf("collect bundles: %w", err)
	}
	// After a power failure no link may lead to what is removed here.
	if err := syncDir(r.cfg.liveDir()); err != nil {
		return 0, fmt.Errorf("collect bundles: %w", err)
	}
	now := time.Now()
	var errs []error
	for hash := range stored {
		if named[hash] {
			delete(r.orphans, hash)
			continue
		}
		since, known := r.orphans[hash]
		if !known {
			since = now
			r.orphans[hash] = now
		}
		if now.Sub(since) < keep {
			continue
		}
		if err := r.removeBundle(hash); err != nil {
			errs = append(errs, fmt.Errorf("collect bundle %s: %w", hash, err))
			continue
		}
		delete(r.orphans, hash)
		removed++
	}
	return removed, errors.Join(errs...)
}

// named lists the bundles that any link in live leads to, ours or not.
func (r *Renderer) named() (map[fleet.Hash]bool, error) {
	entries, err := os.ReadDir(r.cfg.liveDir())
	if err != nil {
		return nil, err
	}
	all := make(map[fleet.Hash]bool, len(entries))
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(r.cfg.liveDir(), e.Name()))
		if err != nil {
			continue // no link
		}
		if hash, err := fleet.ParseHash(filepath.Base(target)); err == nil {
			all[hash] = true
		}
	}
	return all, nil
}

// removeBundle takes a bundle away in one step before its files go.
func (r *Renderer) removeBundle(hash fleet.Hash) error {
	gone := filepath.Join(r.cfg.storeDir(), gonePrefix+hash.String())
	if err := os.RemoveAll(gone); err != nil {
		return err
	}
	if err := os.Rename(r.cfg.bundleDir(hash), gone); err != nil {
		return err
	}
	r.step(StepBundleGone)
	return os.RemoveAll(gone)
}
