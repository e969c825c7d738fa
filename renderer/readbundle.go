package renderer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// ErrSpoiled means that the files of a bundle are not what its hash says.
var ErrSpoiled = errors.New("its files were changed by others")

// ReadBundle reads a bundle from the store and checks that it has the hash.
// ErrNoBundle if it is not there, ErrSpoiled if others changed its files.
func (r *Renderer) ReadBundle(hash fleet.Hash) (bundle.Bundle, error) {
	dir := r.cfg.bundleDir(hash)
	chain, err := os.ReadFile(filepath.Join(dir, fullchainFile))
	if err != nil {
		return bundle.Bundle{}, fmt.Errorf("read bundle %s: %w", hash, missing(err))
	}
	key, err := os.ReadFile(filepath.Join(dir, privkeyFile))
	if err != nil {
		return bundle.Bundle{}, fmt.Errorf("read bundle %s: %w", hash, missing(err))
	}
	defer clear(key)
	b, err := bundle.FromFiles(chain, key)
	if err != nil {
		return bundle.Bundle{}, fmt.Errorf("read bundle %s: %w: %w", hash, ErrSpoiled, err)
	}
	if got := bundle.Hash(b); got != hash {
		return bundle.Bundle{}, fmt.Errorf("read bundle %s: %w: they have the hash %s", hash, ErrSpoiled, got)
	}
	return b, nil
}

func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNoBundle
	}
	return err
}

// WorkerGroup is the id of the group that may read private keys: that of
// nginx's workers, or of Config.
func (r *Renderer) WorkerGroup() (gid int, err error) {
	r.certs.Lock()
	defer r.certs.Unlock()
	if err := r.admit(nil); err != nil {
		return 0, err
	}
	return *r.group, nil
}

// diskBlock is the unit in which file systems give out space.
const diskBlock = 4096

// DiskSize is the space, in bytes, of a bundle whose files have these sizes.
func DiskSize(fullchain, key int) int64 {
	blocks := func(n int) int64 { return int64((n + diskBlock - 1) / diskBlock) }
	return (blocks(fullchain) + blocks(key) + 2) * diskBlock // with its two folders
}

// BundleSize is the DiskSize of a bundle in the store.
func (r *Renderer) BundleSize(hash fleet.Hash) (int64, error) {
	var sizes [2]int
	for i, name := range []string{fullchainFile, privkeyFile} {
		info, err := os.Lstat(filepath.Join(r.cfg.bundleDir(hash), name))
		if err != nil {
			return 0, fmt.Errorf("measure bundle %s: %w", hash, missing(err))
		}
		sizes[i] = int(info.Size())
	}
	return DiskSize(sizes[0], sizes[1]), nil
}
