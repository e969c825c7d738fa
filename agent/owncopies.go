package agent

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strconv"

	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// resealCopies seals this host's copies of records with the key that seals now,
// before anything else uses them: without that, a node whose keyring has lost the
// old key could not start from them, and would reload nginx to have new ones. It
// leaves in the view which other keys they still need.
func (a *Agent) resealCopies() {
	stale := map[string]bool{}
	sealing := a.store.Keys()[0]
	own := func(path string, sealed []byte) []byte {
		again := a.store.Own(path, sealed)
		if id, err := seal.SealedWith(again); err == nil && id != sealing && bytes.Equal(again, sealed) && slices.Contains(a.store.Keys(), id) {
			stale[id] = true
		}
		return again
	}
	err := errors.Join(
		a.renderer.ResealRings(func(sealed []byte) []byte { return own(store.RingPath, sealed) }),
		resealAll(a.renderer.Inventory, func(name string, sealed []byte) []byte {
			if n, err := strconv.Atoi(name); err == nil {
				return own(store.ShardPath(n), sealed)
			}
			return own(store.HeadPath, sealed)
		}, a.renderer.SaveInventory),
		resealAll(a.renderer.SiteCopies, func(name string, sealed []byte) []byte {
			return a.ownSiteCopy(own, name, sealed)
		}, func(records map[string][]byte) error { return a.renderer.SaveSites(records, nil) }),
	)
	if err != nil {
		a.log.Error("own copies not sealed with the new key", "err", err)
		for _, id := range a.store.Keys()[1:] {
			stale[id] = true
		}
	}
	a.view.stale = slices.Sorted(maps.Keys(stale))
}

// ownSiteCopy is a copy of a site, of their head or of the wave as own makes it:
// which of its paths it was sealed for depends on whether the node had waves then.
func (a *Agent) ownSiteCopy(own func(path string, sealed []byte) []byte, name string, sealed []byte) []byte {
	paths := []string{store.PinnedSitePath(name), store.SitePath(name)}
	switch name {
	case headCopy:
		paths = []string{store.PinnedHeadPath, store.SiteHeadPath}
	case waveCopy:
		paths = []string{store.WavePath}
	}
	last := len(paths) - 1
	for _, path := range paths[:last] {
		if again := a.store.Own(path, sealed); !bytes.Equal(again, sealed) {
			return again
		}
	}
	return own(paths[last], sealed)
}

// resealAll brings the copies of one kind to the new key.
func resealAll(read func() (map[string][]byte, error), own func(string, []byte) []byte, save func(map[string][]byte) error) error {
	copies, err := read()
	if err != nil {
		return err
	}
	for name, sealed := range copies {
		again := own(name, sealed)
		if bytes.Equal(again, sealed) {
			delete(copies, name)
			continue
		}
		copies[name] = again
	}
	if len(copies) == 0 {
		return nil
	}
	return save(copies)
}
