package renderer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Errors of the folder StateDir/live.
var (
	// ErrForeign means that an entry was not made by this package.
	ErrForeign = errors.New("not made by tlsfleet")
	// ErrNoBundle means that a bundle is not in the store.
	ErrNoBundle = errors.New("no such bundle on this host")
	// ErrHeld means that nginx could not start without the certificate.
	ErrHeld = errors.New("nginx loads it when it starts")
)

// SetLive makes each bundle the one its name is served with, by one rename of
// the link StateDir/live/<name>. Names that fleet.CheckDomain refuses and
// bundles that are not in the store are named in the error; every other name
// is flipped. After a power failure links may be the former ones, whose bundles
// are still there.
func (r *Renderer) SetLive(flips map[string]fleet.Hash) error {
	r.certs.Lock()
	defer r.certs.Unlock()
	if err := r.admit(nil); err != nil {
		return fmt.Errorf("set certificates live: %w", err)
	}
	store, err := openFolder(r.cfg.storeDir())
	if err != nil {
		return fmt.Errorf("set certificates live: %w", err)
	}
	defer store.close()
	live, err := openFolder(r.cfg.liveDir())
	if err != nil {
		return fmt.Errorf("set certificates live: %w", err)
	}
	defer live.close()
	var errs []error
	for name, hash := range flips {
		err := r.has(store, hash)
		if err == nil {
			err = r.setLive(live, name, hash)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("set certificate of %.300q live: bundle %s: %w", name, hash, err))
		}
		r.step(StepLive)
	}
	return errors.Join(errs...)
}

// has is nil for a bundle in the store. It looks, unless that was put just now.
func (r *Renderer) has(store folder, hash fleet.Hash) error {
	if r.fresh[hash] {
		delete(r.fresh, hash)
		return nil
	}
	mode, err := store.mode(hash.String())
	if err == nil && mode != unix.S_IFDIR {
		err = ErrNoBundle
	}
	return err
}

func (r *Renderer) setLive(live folder, name string, hash fleet.Hash) error {
	entry, err := LiveFolder(name)
	if err != nil {
		return err
	}
	target := liveTarget(hash)
	delete(r.orphans, hash)
	err = uninterrupted(func() error { return unix.Symlinkat(target, live.fd, entry) })
	if err == nil {
		return nil // a new one
	}
	path := live.in(entry)
	if !errors.Is(err, fs.ErrExist) {
		return &os.LinkError{Op: "symlink", Old: target, New: path, Err: err}
	}
	old, err := os.Readlink(path)
	switch {
	case err == nil && old == target:
		return nil
	case err == nil:
		if replaced, ok := liveHash(old); ok {
			r.orphan(replaced)
		}
	default:
		r.cfg.Log.Warn("replacing what others put in the place of a live certificate", "path", path)
	}
	return r.replace(path, target)
}

// replace makes a link by one rename, whatever is there.
func (r *Renderer) replace(path, target string) error {
	// The name of the domain would be too long with a prefix.
	temp := filepath.Join(filepath.Dir(path), linkPrefix)
	err := os.Symlink(target, temp)
	if errors.Is(err, fs.ErrExist) { // left by one that failed
		if err = os.RemoveAll(temp); err == nil {
			err = os.Symlink(target, temp)
		}
	}
	if err != nil {
		return err
	}
	r.step(StepLinkMade)
	err = os.Rename(temp, path)
	if err == nil {
		return nil
	}
	if info, look := os.Lstat(path); look == nil && info.IsDir() {
		return r.settle(temp, path)
	}
	return errors.Join(err, os.Remove(temp))
}

// DropLive stops serving names: their links go, their bundles stay until
// CollectBundles. A name without a link is fine. A name whose files nginx
// loads when it starts is refused with ErrHeld, because nginx could not start
// any more: take it out of the configuration first. One name's failure does
// not keep the others.
func (r *Renderer) DropLive(names ...string) error {
	if len(names) == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.certs.Lock()
	defer r.certs.Unlock()
	held, err := r.loaded()
	if err != nil {
		return fmt.Errorf("drop certificates: %w", err)
	}
	var errs []error
	for _, name := range names {
		if err := r.dropLive(name, held); err != nil {
			errs = append(errs, fmt.Errorf("drop certificate of %.300q: %w", name, err))
		}
		r.step(StepDropped)
	}
	return errors.Join(append(errs, syncDir(r.cfg.liveDir()))...)
}

func (r *Renderer) dropLive(name string, held map[string][]string) error {
	folder, err := LiveFolder(name)
	if err != nil {
		return err
	}
	if places := held[name]; len(places) > 0 {
		return fmt.Errorf("%w: %s", ErrHeld, places[0])
	}
	path := filepath.Join(r.cfg.liveDir(), folder)
	if target, err := os.Readlink(path); err == nil {
		if hash, ok := liveHash(target); ok {
			r.orphan(hash)
		}
	}
	return os.RemoveAll(path)
}

// Live is what is served by name: the links whose bundles are in the store. The
// error names every other entry of StateDir/live (ErrForeign, ErrNoBundle);
// the map is complete even so.
func (r *Renderer) Live() (map[string]fleet.Hash, error) {
	entries, err := os.ReadDir(r.cfg.liveDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list live certificates: %w", err)
	}
	stored, err := r.Stored()
	if err != nil {
		return nil, fmt.Errorf("list live certificates: %w", err)
	}
	live := make(map[string]fleet.Hash, len(entries))
	var errs []error
	for _, e := range entries {
		if e.Name() == linkPrefix {
			continue // on its way
		}
		path := filepath.Join(r.cfg.liveDir(), e.Name())
		name, ok := liveName(e.Name())
		target, err := os.Readlink(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // dropped meanwhile
		}
		hash, ours := liveHash(target)
		switch {
		case err != nil || !ok || !ours:
			errs = append(errs, fmt.Errorf("%s: %w", path, ErrForeign))
		case !stored[hash]:
			errs = append(errs, fmt.Errorf("%s: bundle %s: %w", path, hash, ErrNoBundle))
		default:
			live[name] = hash
		}
	}
	return live, errors.Join(errs...)
}

// Stored lists the bundles in the store.
func (r *Renderer) Stored() (map[fleet.Hash]bool, error) {
	entries, err := os.ReadDir(r.cfg.storeDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list bundles: %w", err)
	}
	all := make(map[fleet.Hash]bool, len(entries))
	for _, e := range entries {
		if hash, err := fleet.ParseHash(e.Name()); err == nil && e.IsDir() {
			all[hash] = true
		}
	}
	return all, nil
}
