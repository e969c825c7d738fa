package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/archive"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// sweep removes objects that the copy does not need and that were written the
// grace time before its manifest. Chains are few and stay. Nothing is removed if
// it cannot be told what is needed.
func (c *copier) sweep(ctx context.Context, grace time.Duration) (int, error) {
	needed, err := c.needed(ctx)
	if err != nil {
		return 0, fmt.Errorf("look at what the copy needs: %w", err)
	}
	var old []string
	var newest time.Time
	for _, each := range []struct {
		prefix string
		take   func(archive.Object)
	}{
		{archive.ManifestName, func(o archive.Object) {
			if o.Name == archive.ManifestName {
				newest = o.Modified
			}
		}},
		{"", func(o archive.Object) {
			if !needed[o.Name] && o.Name != archive.ManifestName && !isChain(o.Name) && newest.Sub(o.Modified) >= grace {
				old = append(old, o.Name)
			}
		}},
	} {
		if err := c.target.List(ctx, each.prefix, each.take); err != nil {
			return 0, err
		}
	}
	for n, name := range old {
		if err := c.target.Delete(ctx, name); err != nil {
			return n, err
		}
	}
	return len(old), nil
}

// needed is the names of all objects of the copy but chains.
func (c *copier) needed(ctx context.Context) (map[string]bool, error) {
	names := map[string]bool{}
	for path, d := range c.manifest.Records {
		names[d.Name(path)] = true
	}
	for n, d := range c.manifest.Shards {
		if d == (archive.Digest{}) {
			continue
		}
		names[d.Name(store.ShardPath(n))] = true
		bundles, err := c.copied(ctx, n, d)
		if err != nil {
			return nil, err
		}
		for hash := range bundles {
			names[store.BundlePath(hash)] = true
		}
	}
	for n, d := range c.manifest.Pages {
		if d == (archive.Digest{}) {
			continue
		}
		names[d.Name(store.PagePath(n))] = true
		page, err := c.page(ctx, n)
		if err != nil {
			return nil, err
		}
		for id, item := range page {
			names[item.Name(store.ItemPath(id))] = true
		}
	}
	return names, nil
}

// copied is which bundles the copy has for a shard.
func (c *copier) copied(ctx context.Context, n int, d archive.Digest) (map[fleet.Hash]bool, error) {
	sealed, err := timely{c.target}.Get(ctx, d.Name(store.ShardPath(n)))
	if err == nil && archive.DigestOf(sealed) != d {
		err = fmt.Errorf("get %s: %w", store.ShardPath(n), errCopied)
	}
	if err != nil {
		return nil, err
	}
	shard, err := c.store.OpenShard(n, sealed)
	return bundlesOf(shard), err
}
