package renderer

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
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
	if len(bundles) == 0 {
		return nil
	}
	r.certs.Lock()
	defer r.certs.Unlock()
	s := r.beginStaging()
	s.stage(bundles, true)
	_, failed := s.place()
	return failed
}

// StageBundles is the longer part of PutBundles, for bundles that the caller
// knows not to be there: it does not look for them. It goes on beside others'
// changes, and nothing finds the bundles before they are placed.
func (r *Renderer) StageBundles(bundles map[fleet.Hash]bundle.Bundle) *Staged {
	r.certs.Lock()
	s := r.beginStaging()
	r.certs.Unlock()
	s.stage(bundles, false)
	return s
}

// Staged is bundles whose files are written, and durable.
type Staged struct {
	r     *Renderer
	gid   int   // the group that they have
	begun error // why none was written

	mu     sync.Mutex
	temps  map[fleet.Hash]string // folders in the store; empty for a bundle that is in place
	failed map[fleet.Hash]error
}

// beginStaging looks whether bundles may be written. The caller holds r.certs.
func (r *Renderer) beginStaging() *Staged {
	s := &Staged{r: r, begun: r.admit(nil), temps: map[fleet.Hash]string{}, failed: map[fleet.Hash]error{}}
	if s.begun == nil {
		s.gid = *r.group
	}
	return s
}

// Place puts the bundles in place, each in one step, and returns which are
// there now, and why others are not. One that was there after all is replaced
// by its like.
func (s *Staged) Place() (placed []fleet.Hash, failed map[fleet.Hash]error) {
	s.r.certs.Lock()
	defer s.r.certs.Unlock()
	return s.place()
}

// place is Place. The caller holds r.certs.
func (s *Staged) place() (placed []fleet.Hash, failed map[fleet.Hash]error) {
	r := s.r
	if len(s.temps) == 0 {
		return nil, s.failed
	}
	store, err := openFolder(r.cfg.storeDir())
	if err != nil {
		s.failAll(errors.Join(err, s.discard()))
		return nil, s.failed
	}
	defer store.close()
	s.regroup()
	r.fresh = make(map[fleet.Hash]bool, len(s.temps))
	for hash, temp := range s.temps {
		delete(r.orphans, hash)
		if temp == "" {
			continue
		}
		if err := r.settleIn(store, temp, hash.String()); err != nil {
			s.fail(hash, err)
			continue
		}
		r.fresh[hash] = true
	}
	if len(r.fresh) > 0 {
		if err := syncDir(r.cfg.storeDir()); err != nil {
			s.failAll(err)
			return nil, s.failed
		}
		r.step(StepBundlePut)
	}
	return slices.Collect(maps.Keys(s.temps)), s.failed
}

func (s *Staged) fail(hash fleet.Hash, err error) {
	s.failed[hash] = fmt.Errorf("put bundle %s: %w", hash, err)
	delete(s.temps, hash)
}

func (s *Staged) failAll(err error) {
	for hash := range s.temps {
		s.fail(hash, err)
	}
}

// regroup gives what is written to the group that nginx's workers have now.
func (s *Staged) regroup() {
	if *s.r.group == s.gid {
		return
	}
	for hash, temp := range s.temps {
		if temp == "" {
			continue
		}
		dir := filepath.Join(s.r.cfg.storeDir(), temp)
		if err := regroupBundle(dir, *s.r.group); err != nil {
			s.fail(hash, errors.Join(err, os.RemoveAll(dir)))
		}
	}
}

// discard removes what is not to be placed.
func (s *Staged) discard() error {
	var errs []error
	for _, temp := range s.temps {
		if temp != "" {
			errs = append(errs, os.RemoveAll(filepath.Join(s.r.cfg.storeDir(), temp)))
		}
	}
	return errors.Join(errs...)
}

// stage writes those of the bundles that are not in place. look says that some
// may be.
func (s *Staged) stage(bundles map[fleet.Hash]bundle.Bundle, look bool) {
	if len(bundles) == 0 {
		return
	}
	store, err := folder{}, s.begun
	if err == nil {
		store, err = openFolder(s.r.cfg.storeDir())
	}
	if err != nil {
		for hash := range bundles {
			s.fail(hash, err)
		}
		return
	}
	defer store.close()
	like := maker{store: store, gid: s.gid, look: look, sync: len(bundles) < syncfsAt}
	s.make(like, bundles)
	if !s.wrote() {
		return
	}
	if !like.sync {
		if err := syncAll(s.r.cfg.storeDir()); err != nil {
			s.failAll(errors.Join(err, s.discard()))
		}
	}
	s.r.step(StepBundleStaged)
}

// wrote reports whether any bundle was not in place.
func (s *Staged) wrote() bool {
	for _, temp := range s.temps {
		if temp != "" {
			return true
		}
	}
	return false
}

// make writes the bundles on all processors, each with a maker like this one.
func (s *Staged) make(like maker, bundles map[fleet.Hash]bundle.Bundle) {
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for part := range slices.Chunk(slices.Collect(maps.Keys(bundles)), stageAtOnce) {
		g.Go(func() error {
			m := like
			m.needs = map[string]need{}
			for _, hash := range part {
				temp, err := s.r.stageBundle(&m, hash, bundles[hash])
				s.mu.Lock()
				if s.temps[hash] = temp; err != nil {
					s.fail(hash, err)
				}
				s.mu.Unlock()
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		s.r.cfg.Log.Error("bundles not staged", "err", err)
	}
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
	temp = stagePrefix + name + "-" + strconv.FormatUint(r.staged.Add(1), 10) // another may stage it, too
	if err := m.bundle(temp, files); err != nil {
		return "", errors.Join(err, os.RemoveAll(m.store.in(temp)))
	}
	return temp, nil
}

// bundle writes the files into a new temporary folder of the store.
func (m *maker) bundle(temp string, files []bundleFile) error {
	if err := m.folder(temp, "", 0o710); err != nil {
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
