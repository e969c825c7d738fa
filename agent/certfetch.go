package agent

import (
	"context"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// fetchAtOnce is how many bundles are in memory at a time, twice: those that
// are fetched, and those that are written.
const fetchAtOnce = 2048

// fetchers is how many bundles a node on demand fetches at a time.
const fetchers = 8

// fetched is some bundles as they were read, or why they were not.
type fetched struct {
	good map[fleet.Hash]bundle.Bundle
	bad  map[fleet.Hash]error
}

// fetch makes the bundles that todo names available on disk, and says which of
// them were checked in full: those that replace another, and all once one was
// found that its issuer has not signed.
func (f *certFollower) fetch(ctx context.Context) (ready, full map[fleet.Hash]bool, failed map[fleet.Hash]error) {
	ready, failed = map[fleet.Hash]bool{}, map[fleet.Hash]error{}
	wanted := map[fleet.Hash]bool{}
	f.wary = f.wary || f.ledger.distrusts()
	for name, hash := range f.todo {
		if !hash.IsZero() && !f.kept(name, hash) {
			have, served := f.served.bundle(name)
			wanted[hash] = wanted[hash] || f.wary || served && have != hash
		}
	}
	for got := range f.fetches(ctx, wanted, f.here(len(wanted))) {
		for hash, err := range f.put(got, wanted) {
			if err != nil {
				failed[hash] = err
			} else {
				ready[hash] = true
			}
		}
	}
	return ready, wanted, failed
}

// here is a look at which bundles are on disk: of many, at all of them at once.
func (f *certFollower) here(many int) func(fleet.Hash) bool {
	if many >= bulk {
		if all, err := f.renderer.Stored(); err == nil {
			return func(hash fleet.Hash) bool { return all[hash] }
		}
	}
	return f.renderer.HasBundle
}

// fetches reads bundles while the caller is busy with those before.
func (f *certFollower) fetches(ctx context.Context, wanted map[fleet.Hash]bool, stored func(fleet.Hash) bool) <-chan fetched {
	out := make(chan fetched)
	go func() {
		defer close(out)
		var batch []fleet.Hash
		for hash := range wanted {
			if batch = append(batch, hash); len(batch) == fetchAtOnce {
				out <- f.read(ctx, batch, stored)
				batch = nil
			}
		}
		if len(batch) > 0 {
			out <- f.read(ctx, batch, stored)
		}
	}()
	return out
}

// read fetches some bundles, unless they are here already; when that ends early,
// none of them.
func (f *certFollower) read(ctx context.Context, hashes []fleet.Hash, stored func(fleet.Hash) bool) fetched {
	here := map[fleet.Hash]bundle.Bundle{}
	missing := slices.DeleteFunc(hashes, func(hash fleet.Hash) bool {
		if stored(hash) {
			if _, whole := f.renderer.CheckBundle(hash); whole != nil {
				here[hash] = *whole
			}
		}
		_, ok := here[hash]
		return ok
	})
	good, bad, err := f.store.Bundles(ctx, missing)
	if err != nil {
		good, bad = map[fleet.Hash]bundle.Bundle{}, map[fleet.Hash]error{}
		for _, hash := range missing {
			bad[hash] = err
		}
	}
	maps.Copy(good, here)
	return fetched{good, bad}
}

// put checks and writes bundles, and says of each that was asked for what came
// of it. Some are checked in full, and marked.
func (f *certFollower) put(got fetched, full map[fleet.Hash]bool) map[fleet.Hash]error {
	result := got.bad
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for hash, b := range got.good {
		g.Go(func() error {
			err := usable(&f.checker, b, !full[hash])
			mu.Lock()
			defer mu.Unlock()
			result[hash] = err
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		f.log.Error("bundles not checked", "err", err)
	}
	for hash, err := range result {
		if err != nil {
			delete(got.good, hash)
		}
	}
	for hash, err := range f.renderer.PutBundles(got.good) {
		result[hash] = err
	}
	for hash := range got.good {
		if full[hash] && result[hash] == nil {
			f.mark(hash)
		}
	}
	return result
}

// mark notes that a bundle was checked in full.
func (f *certFollower) mark(hash fleet.Hash) {
	if err := f.renderer.SetVerified(hash); err != nil {
		f.log.Debug("bundle checked once more after the next start", "bundle", hash, "err", err)
	}
}

// checked fetches and checks one bundle.
func (f *certFollower) checked(ctx context.Context, hash fleet.Hash) (bundle.Bundle, error) {
	b, err := f.store.Bundle(ctx, hash)
	if err != nil {
		return bundle.Bundle{}, err
	}
	if err := usable(&f.checker, b, false); err != nil {
		return bundle.Bundle{}, err
	}
	return b, nil
}

// usable checks a bundle. An expired one is served as the inventory says: the
// owner sees it, and nothing else would be better. Whoever sealed it has looked
// at the issuer's signature; one that takes nothing else away is issued for that.
func usable(c *bundle.Checker, b bundle.Bundle, issued bool) error {
	_, err := c.Check(b, bundle.Policy{Now: time.Now(), AllowExpired: true, AllowNoChain: true, AllowSelfSigned: true, Issued: issued})
	return err
}
