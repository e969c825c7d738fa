package agent

import (
	"context"
	"encoding/hex"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// How many bundles are read at a time, and how many are written; three times as
// many are in memory. Some are read while others are checked and written.
const (
	readAtOnce  = 256
	listAtOnce  = 1024 // about, at most
	writeAtOnce = 2048
	readers     = 2
)

// fetchers is how many bundles a node on demand fetches at a time.
const fetchers = 8

// wanted is a bundle that names are to be served with.
type wanted struct {
	names []string
	full  bool // to be checked in full
}

// fetched is some bundles as they were read and checked, or why they were not.
type fetched struct {
	good map[fleet.Hash]bundle.Bundle // have no folder here
	here map[fleet.Hash]bundle.Bundle // have one
	bad  map[fleet.Hash]error
}

// written is fetched, with the new ones written and not yet in place.
type written struct {
	staged *renderer.Staged
	here   map[fleet.Hash]bundle.Bundle
	bad    map[fleet.Hash]error
}

// brought is what came of the bundles that todo names.
type brought struct {
	ready  map[fleet.Hash]bool
	full   map[fleet.Hash]bool // were checked in full
	failed map[fleet.Hash]error
	added  map[string]fleet.Hash // names that had nothing before, and are served already
}

// fetch makes the bundles that todo names available on disk. Those that replace
// another are checked in full, and all once one was found that its issuer has
// not signed. Of many, names that have no certificate get theirs as it comes:
// nobody has anything to lose.
func (f *certFollower) fetch(ctx context.Context) brought {
	b := brought{ready: map[fleet.Hash]bool{}, full: map[fleet.Hash]bool{}, failed: map[fleet.Hash]error{}, added: map[string]fleet.Hash{}}
	all := f.wanted()
	early := len(all) >= bulk
	for got := range f.fetches(ctx, all, f.here(len(all))) {
		placed, failed := f.place(got)
		maps.Copy(b.failed, failed)
		for _, hash := range placed {
			b.ready[hash] = true
			if all[hash].full {
				b.full[hash] = true
				f.mark(hash)
			}
		}
		if early {
			f.serveNew(placed, all, b.added)
		}
	}
	return b
}

// wanted is the bundles that todo names and that are not known to be here.
func (f *certFollower) wanted() map[fleet.Hash]wanted {
	all := make(map[fleet.Hash]wanted, len(f.todo))
	f.wary = f.wary || f.ledger.distrusts()
	for name, hash := range f.todo {
		if hash.IsZero() || f.kept(name, hash) {
			continue
		}
		have, served := f.served.bundle(name)
		w := all[hash]
		w.full = w.full || f.wary || served && have != hash
		if !served {
			w.names = append(w.names, name)
		}
		all[hash] = w
	}
	return all
}

// serveNew serves names for the first time with bundles that are in place, and
// notes them. What fails is tried with all others, and told then.
func (f *certFollower) serveNew(placed []fleet.Hash, all map[fleet.Hash]wanted, added map[string]fleet.Hash) {
	flips := map[string]fleet.Hash{}
	for _, hash := range placed {
		for _, name := range all[hash].names {
			flips[name] = hash
		}
	}
	if err := f.renderer.SetLive(flips); err != nil {
		f.log.Debug("names not served before all are written", "err", err)
		return
	}
	f.served.change(flips, nil)
	maps.Copy(added, flips)
	f.view.count(f.served.count(), len(f.todo)-len(added))
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

// fetches reads, checks and writes bundles while the caller, who takes all of
// them, puts those before in place.
func (f *certFollower) fetches(ctx context.Context, all map[fleet.Hash]wanted, stored func(fleet.Hash) bool) <-chan written {
	ready := make(chan written)
	go func() {
		defer close(ready)
		read := f.reads(ctx, all, stored)
		for got := range read {
			for len(got.good)+len(got.here) < writeAtOnce {
				more, ok := <-read
				if !ok {
					break
				}
				maps.Copy(got.good, more.good)
				maps.Copy(got.here, more.here)
				maps.Copy(got.bad, more.bad)
			}
			ready <- written{f.renderer.StageBundles(got.good), got.here, got.bad}
		}
	}()
	return ready
}

// reads reads and checks bundles.
func (f *certFollower) reads(ctx context.Context, all map[fleet.Hash]wanted, stored func(fleet.Hash) bool) <-chan fetched {
	portions := f.portions(slices.Collect(maps.Keys(all)), stored)
	largest := 1
	for _, part := range portions {
		largest = max(largest, len(part.hashes))
	}
	parts := make(chan portion)
	read := make(chan fetched, writeAtOnce/largest)
	var reading sync.WaitGroup
	for range readers {
		reading.Go(func() {
			for part := range parts {
				read <- f.read(ctx, part, all, stored)
			}
		})
	}
	go func() {
		for _, part := range portions {
			parts <- part
		}
		close(parts)
		reading.Wait()
		close(read)
	}()
	return read
}

// portion is bundles that are read at a time.
type portion struct {
	digits string // that their hashes begin with, where what begins so is listed
	hashes []fleet.Hash
}

// portions divides many bundles. Where most of what the fleet has is missing
// here, they are those that Consul lists together.
func (f *certFollower) portions(hashes []fleet.Hash, stored func(fleet.Hash) bool) []portion {
	missing := 0
	for _, hash := range hashes {
		if !stored(hash) {
			missing++
		}
	}
	var parts []portion
	if missing < bulk || missing < f.head.Names/2 {
		for part := range slices.Chunk(hashes, readAtOnce) {
			parts = append(parts, portion{hashes: part})
		}
		return parts
	}
	digits := 1
	for n := missing / 16; n > listAtOnce; n /= 16 {
		digits++
	}
	under := map[string][]fleet.Hash{}
	for _, hash := range hashes {
		first := hex.EncodeToString(hash[:(digits+1)/2])[:digits]
		under[first] = append(under[first], hash)
	}
	for first, some := range under {
		parts = append(parts, portion{first, some})
	}
	return parts
}

// read fetches some bundles, unless they are here already, and checks them; when
// fetching ends early, none of them.
func (f *certFollower) read(ctx context.Context, part portion, all map[fleet.Hash]wanted, stored func(fleet.Hash) bool) fetched {
	here := map[fleet.Hash]bundle.Bundle{}
	broken := map[fleet.Hash]bool{}
	missing := slices.DeleteFunc(part.hashes, func(hash fleet.Hash) bool {
		if !stored(hash) {
			return false
		}
		_, whole := f.renderer.CheckBundle(hash)
		if whole == nil {
			broken[hash] = true
			return false
		}
		here[hash] = *whole
		return true
	})
	good, bad, err := f.store.BundlesUnder(ctx, part.digits, missing)
	if err != nil {
		good, bad = map[fleet.Hash]bundle.Bundle{}, map[fleet.Hash]error{}
		for _, hash := range missing {
			bad[hash] = err
		}
	}
	for hash := range broken {
		if b, ok := good[hash]; ok {
			here[hash] = b
			delete(good, hash)
		}
	}
	for _, some := range []map[fleet.Hash]bundle.Bundle{good, here} {
		for hash, b := range some {
			if err := usable(&f.checker, b, !all[hash].full); err != nil {
				bad[hash] = err
				delete(some, hash)
			}
		}
	}
	return fetched{good, here, bad}
}

// place puts bundles in place, and says which are there now and why others are not.
func (f *certFollower) place(got written) (placed []fleet.Hash, failed map[fleet.Hash]error) {
	placed, failed = got.staged.Place()
	maps.Copy(failed, got.bad)
	unmended := f.renderer.PutBundles(got.here)
	maps.Copy(failed, unmended)
	for hash := range got.here {
		if unmended[hash] == nil {
			placed = append(placed, hash)
		}
	}
	return placed, failed
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
