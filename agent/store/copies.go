package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/consul"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/site"
)

// Copies of a fleet outside Consul have its records as they are sealed here, by
// their paths below tlsfleet/<fleet>/.

// HeadPath is the path of the inventory's head.
const HeadPath = headPath

// RingPath is the path of the ring.
const RingPath = ringPath

// SiteHeadPath is the path of the head of the sites.
const SiteHeadPath = siteHeadPath

// SitePath is the path of a site.
func SitePath(id string) string { return sitePath(id) }

// WavePath is the path of the wave.
const WavePath = wavePath

// PinnedHeadPath is what a pinned head of any epoch is sealed for.
const PinnedHeadPath = pinnedHeadsPath

// PinnedSitePath is what a pinned site of any epoch is sealed for.
func PinnedSitePath(id string) string { return pinnedSealPath(id) }

// manifestPath is what a copy's manifest is bound to. Nothing in Consul has it.
const manifestPath = "copy/manifest"

// SinglePaths are those of the records that a copy has beside the inventory,
// the sites and the journal, in the order in which they are put back.
func SinglePaths() []string { return []string{metaPath, accountPath, answerPath} }

// ShardPath is the path of a shard.
func ShardPath(number int) string { return shardPath(number) }

// BundlePath is the path of a bundle.
func BundlePath(hash fleet.Hash) string { return bundlePath(hash) }

// ChainPath is the path of a chain.
func ChainPath(hash fleet.Hash) string { return chainPath(hash) }

// ItemPath is the path of an item of the journal.
func ItemPath(id string) string { return itemPath(id) }

// SiteOf is the ID of the site that has a path.
func SiteOf(path string) (id string, ok bool) {
	id, ok = strings.CutPrefix(path, sitesPath)
	return id, ok && site.CheckID(id) == nil
}

// PagePath is the path of a page of the journal: of the items whose IDs begin
// with its number.
func PagePath(page int) string { return fmt.Sprintf("%s%02x", issuancePath, page) }

// Sealed reads records as they are stored. each is called for every path, in
// order, with the record or why there is none: ErrMissing, ErrDenied. The error
// is for what ends the reading.
func (s *Store) Sealed(ctx context.Context, paths []string, each func(i int, sealed []byte, err error)) error {
	err := s.getAll(ctx, paths, func(i int, pair *api.KVPair, err error) {
		if err != nil {
			each(i, nil, err)
			return
		}
		each(i, pair.Value, nil)
	})
	if err != nil {
		return fmt.Errorf("read sealed records: %w", err)
	}
	return nil
}

// SealedItems reads a page of the journal as it is stored.
func (s *Store) SealedItems(ctx context.Context, page int, each func(id string, sealed []byte)) error {
	q, cancel := read(ctx)
	defer cancel()
	prefix := s.key(PagePath(page)) + "/"
	pairs, meta, err := s.client.KV().List(prefix, q)
	if err == nil {
		err = consul.Vouched(meta)
	}
	if err != nil {
		return fmt.Errorf("read sealed items: %w", denied(err))
	}
	for _, pair := range pairs {
		each(strings.TrimPrefix(pair.Key, prefix), pair.Value)
	}
	return nil
}

// SealManifest seals the manifest of a copy with the fleet's keyring.
func (s *Store) SealManifest(plain []byte) ([]byte, error) {
	return s.seal(manifestPath, immutable, plain)
}

// OpenManifest undoes SealManifest. The error wraps ErrRecord and the cause.
func (s *Store) OpenManifest(sealed []byte) ([]byte, error) {
	return open(s, manifestPath, sealed, func(plain []byte) ([]byte, uint64, error) { return plain, immutable, nil })
}

// OpenItem opens an item's record; ErrRecord.
func (s *Store) OpenItem(id string, sealed []byte) (issuance.Item, error) {
	return s.openItem(id, sealed)
}

// OpenChain opens a chain's record, which has to have this hash; ErrRecord.
func (s *Store) OpenChain(hash fleet.Hash, sealed []byte) ([][]byte, error) {
	return s.openChain(hash, sealed)
}

// ChainOf is the hash of the chain that a bundle's record needs; zero: none.
func (s *Store) ChainOf(hash fleet.Hash, sealed []byte) (fleet.Hash, error) {
	return open(s, bundlePath(hash), sealed, func(plain []byte) (fleet.Hash, uint64, error) {
		chain, err := bundle.RecordChain(plain)
		return chain, immutable, err
	})
}

// CheckBundle refuses a bundle's record that is not what its hash says; ErrRecord.
func (s *Store) CheckBundle(hash fleet.Hash, sealed []byte, chainOf func(fleet.Hash) ([][]byte, error)) error {
	_, err := s.bundleOf(new(bundle.Series), hash, &api.KVPair{Value: sealed}, chainOf)
	return err
}

// CheckSingle refuses one of the records of SinglePaths that cannot be used here;
// ErrRecord.
func (s *Store) CheckSingle(path string, sealed []byte) error {
	switch path {
	case metaPath:
		return s.checkMeta(&api.KVPair{Key: s.key(metaPath), Value: sealed})
	case accountPath:
		_, _, err := s.openAccount(sealed)
		return err
	case answerPath:
		_, err := s.OpenAnswer(sealed)
		return err
	default:
		return fmt.Errorf("open %s: %w: no copy has it", path, ErrRecord)
	}
}
