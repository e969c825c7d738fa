package agent

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// How what was not looked at before it went live is verified after it. A step
// is followed by a pause of so many times its length: those that have just come
// cost 5 % of a core until they are done, what is left 0.005 %.
const (
	verifyStep   = 10 // bundles in a step, 0.2 ms each
	verifySoon   = 20
	verifyRest   = 20000
	verifySample = 2000                 // of many bundles, chosen by their names' hashes
	verifyMost   = 2 * time.Millisecond // for shards that have nothing to be looked at
	verifyAgain  = time.Minute          // after a bundle that could not be read
)

// certVerifier looks at the signatures and constraints of the issuers of what
// is served, once for each bundle, also when the agent ends meanwhile: the
// bundle on disk is marked. It decides nothing: certFollower does.
type certVerifier struct {
	log      hclog.Logger
	renderer *renderer.Renderer
	served   *served
	wake     wake // there is something to look at
	told     wake // there are findings

	mu    sync.Mutex
	soon  [inventory.Shards]bool // shards of names whose bundles have just come
	later [inventory.Shards]bool // others that were not looked through
	quick int                    // bundles of these that are looked at soon, as a sample
	found map[fleet.Hash]string  // what fails, with why

	at     int // the shard of queue
	queue  []fleet.Hash
	hurry  bool      // queue was one of soon
	idle   bool      // nothing is left
	failed bool      // one failed, so that all others are looked at soon
	rested time.Time // when those of later may go on
}

// add asks for a look at the bundles of names that have gone live.
func (v *certVerifier) add(names []string) {
	if len(names) == 0 {
		return
	}
	v.mu.Lock()
	shards := &v.soon
	if len(names) >= bulk {
		shards, v.quick = &v.later, verifySample
	}
	for _, name := range names {
		shards[inventory.ShardOf(name)] = true
	}
	v.mu.Unlock()
	v.wake.give()
}

// addAll asks for a look at everything that is served.
func (v *certVerifier) addAll() {
	v.mu.Lock()
	for n := range v.later {
		v.later[n] = true
	}
	v.quick = verifySample
	v.mu.Unlock()
	v.wake.give()
}

// take gives what was found since the last take.
func (v *certVerifier) take() map[fleet.Hash]string {
	v.mu.Lock()
	defer v.mu.Unlock()
	found := v.found
	v.found = nil
	return found
}

// Run verifies until ctx ends.
func (v *certVerifier) Run(ctx context.Context) error {
	timer := time.NewTimer(verifyAgain)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-v.wake:
		case <-timer.C:
		}
		timer.Reset(v.step())
	}
}

// step looks at the next few bundles, and returns how long to pause.
func (v *certVerifier) step() time.Duration {
	began := time.Now()
	more := v.choose(began)
	for more && len(v.queue) == 0 && time.Since(began) < verifyMost {
		more = v.choose(began)
	}
	if v.idle {
		return verifyAgain // it is woken before
	}
	if !more {
		return max(time.Until(v.rested), verifyMost)
	}
	n := min(verifyStep, len(v.queue))
	for _, hash := range v.queue[:n] {
		v.verify(hash)
	}
	v.queue = v.queue[n:]
	took := time.Since(began)
	if v.hurry || v.sampled(n) || v.failed {
		return took * verifySoon
	}
	v.rested = later(v.rested, fleet.Beat(time.Now().Add(took*verifyRest), restBeat))
	return time.Until(v.rested)
}

// choose takes the next shard unless one is begun: what has just come before
// all others. It reports whether there is something to look at now.
func (v *certVerifier) choose(now time.Time) bool {
	v.mu.Lock()
	first := rand.IntN(inventory.Shards) //nolint:gosec // no secret
	soon, isSoon := pick(&v.soon, first)
	if len(v.queue) > 0 && !v.hurry && isSoon {
		v.later[v.at], v.queue = true, nil
	}
	if len(v.queue) > 0 {
		v.mu.Unlock()
		return v.hurry || !now.Before(v.rested)
	}
	n, some := soon, isSoon
	if !some {
		n, some = pick(&v.later, first)
		v.idle, v.failed = !some, v.failed && some
		some = some && !now.Before(v.rested)
	}
	if some {
		v.soon[n], v.later[n] = false, false
	}
	v.mu.Unlock()
	v.idle = v.idle && !isSoon
	if some {
		v.at, v.hurry, v.queue = n, isSoon, v.unverified(n)
	}
	return some
}

// pick is the next shard of a set, from one on.
func pick(set *[inventory.Shards]bool, from int) (int, bool) {
	for i := range set {
		if n := (from + i) % len(set); set[n] {
			return n, true
		}
	}
	return 0, false
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// sampled reports whether the next n bundles still belong to a sample.
func (v *certVerifier) sampled(n int) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	is := v.quick > 0
	v.quick = max(v.quick-n, 0)
	return is
}

// unverified are the bundles of a shard's names that are not marked.
func (v *certVerifier) unverified(shard int) []fleet.Hash {
	var all []fleet.Hash
	for hash := range v.served.ofShard(shard) {
		if !v.renderer.Verified(hash) {
			all = append(all, hash)
		}
	}
	return all
}

func (v *certVerifier) verify(hash fleet.Hash) {
	b, err := v.renderer.ReadBundle(hash)
	if err != nil { // gone, or the guard sees to it
		v.mu.Lock()
		v.later[v.at] = true
		v.mu.Unlock()
		v.rested = time.Now().Add(verifyAgain)
		return
	}
	if err := bundle.CheckIssuers(b); err != nil {
		v.failed = true
		v.mu.Lock()
		if v.found == nil {
			v.found = map[fleet.Hash]string{}
		}
		v.found[hash] = err.Error()
		v.mu.Unlock()
		v.told.give()
		return
	}
	if err := v.renderer.SetVerified(hash); err != nil {
		v.log.Debug("bundle verified once more after the next start", "bundle", hash, "err", err)
	}
}

// ofShard are the bundles that names of a shard are served with.
func (s *served) ofShard(n int) map[fleet.Hash]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[fleet.Hash]bool{}
	for _, hash := range s.live.shard(n) {
		all[hash] = true
	}
	return all
}

// disown takes away bundles whose issuers have not signed them, whatever names
// they serve.
func (f *certFollower) disown() {
	why := f.issuers.take()
	bad := make(map[fleet.Hash]bool, len(why))
	for hash := range why {
		bad[hash] = true
	}
	for name, hash := range f.served.with(bad) {
		if f.ledger.Quarantine[name].Bundle != hash {
			t, _ := f.ledger.trial(name)
			f.condemn(name, quarantined{Bundle: hash, Back: t.Back, Why: why[hash], Unsigned: true})
		}
	}
	f.keepLedger()
}

// unsigned are the names of flips whose bundle nobody on this node has verified.
func (f *certFollower) unsigned(flips map[string]fleet.Hash, verified map[fleet.Hash]bool) []string {
	var names []string
	for name, hash := range flips {
		if !verified[hash] {
			names = append(names, name)
		}
	}
	return names
}
