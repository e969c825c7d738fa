package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/handlers"
	"github.com/tlsfleet/tlsfleet/renderer"
)

const (
	certRetry    = 5 * time.Second // first retry of what could not be written
	certRetryMax = 5 * time.Minute // the same, again and again

	flood = 10000 // from how many names on events of the kernel are more than tell anything

	bulk   = 1000 // from how many names on their memory is given back at once
	bulkGC = 150  // percent: they are garbage soon, which is not looked for as often meanwhile

	bulkShards = 64 // from how many on shards are read on all processors
)

// certFollower keeps the certificates on this host on the fleet's inventory.
// It fetches only the shards whose epoch moved and the bundles that are not
// here. What is on disk is brought to what is wanted, at the start as later.
type certFollower struct {
	log      hclog.Logger
	store    *store.Store
	renderer *renderer.Renderer
	view     *view
	problems *problems
	maxLoss  float64
	keep     time.Duration                                      // replaced bundles stay on disk for so long
	begin    <-chan struct{}                                    // closed when the node has mended what a crash left behind
	loaded   func()                                             // told when the names served are known
	changed  func(context.Context, handlers.CertChange) certUse // told after files have changed
	proof    *certProver
	refused  blames // certificates that a release was refused for
	ledger   *ledger
	issuers  *certVerifier
	suspects *suspects
	edits    *edits

	after aftermath
	use   certUse // what nginx did with certificates when that was looked at last

	mail      mailbox[store.HeadRecord]
	head      inventory.Head
	todo      map[string]fleet.Hash // names whose files are not yet as wanted, with the bundle; zero: to be dropped
	target    *store.HeadRecord     // head to follow, until all its shards are here
	wait      time.Duration
	again     bool // to act at once, because a name has to be served otherwise than a moment ago
	next      time.Time
	doubts    map[string]string     // names on trial that were looked for in vain, with why
	spared    map[string]fleet.Hash // bundles that fail as the ones before them do
	lost      map[int][]string      // names that vanished from a shard, kept
	waste     time.Time             // when to look for bundles that nothing names; zero: there are none
	littered  bool                  // there may be more of them than waste is for
	collected time.Time             // last look for them
	served    served
	known     directory
	checker   bundle.Checker
	wary      bool // a bundle was found that its issuer has not signed

	demand  *demand // nil: the node keeps every certificate
	evicted time.Time

	mending mending

	processors *Processors
}

// Run follows until ctx ends. It starts from the node's own sealed copies, so
// that a restart with Consul away changes nothing.
func (f *certFollower) Run(ctx context.Context) error {
	f.mail.wake = newWake()
	select {
	case <-f.begin:
	case <-ctx.Done():
		return nil
	}
	if f.start(ctx); ctx.Err() != nil {
		return nil
	}
	watched := make(chan error, 1)
	go func() { watched <- f.store.WatchHead(ctx, f.mail.put) }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case err := <-watched:
			return err
		case <-f.mail.wake:
			f.look()
		case <-f.demanded():
			f.view.count(f.served.count(), len(f.todo))
		case <-f.suspects.wake:
			f.mend(ctx)
		case <-f.proof.told:
			f.judge()
		case <-f.issuers.told:
			f.disown()
		case <-f.refused.wake:
			f.conclude(ctx) // so that it is known what names go back to
			f.refuse(f.refused.take())
		case <-timer.C:
			if again := f.mending.again; !again.IsZero() && !time.Now().Before(again) {
				f.mend(ctx)
			}
		}
		f.act(ctx)
		f.finish(ctx)
		f.collect()
		f.evict()
		timer.Reset(max(time.Until(f.nextTime()), 0))
	}
}

// start takes up what this node had before.
func (f *certFollower) start(ctx context.Context) {
	defer f.processors.Use()()
	if f.load(); ctx.Err() != nil {
		return
	}
	f.loaded()
	f.issuers.addAll()
	f.resume(ctx)
}

// demanded tells when something more is kept, or should be.
func (f *certFollower) demanded() <-chan struct{} {
	if f.demand == nil {
		return nil
	}
	return f.demand.news
}

func (f *certFollower) nextTime() time.Time {
	next, waste := f.next, f.waste
	if f.after.changes() {
		waste = time.Time{} // collect waits for them
	}
	for _, t := range []time.Time{waste, f.mending.again, f.after.due} {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	return next
}

// look takes what the watch has read.
func (f *certFollower) look() {
	rec, err := f.mail.take()
	if rec != nil {
		f.target, f.wait, f.next = rec, 0, time.Time{}
	}
	switch {
	case err == nil:
		f.problems.replace("inventory-contact")
	case errors.Is(err, store.ErrMissing) && f.head.Epoch == 0:
		f.problems.replace("inventory-contact") // a fleet without certificates
		f.known.ready(true)
	case errors.Is(err, store.ErrMissing):
		f.problems.replace("inventory-contact", fleet.Problem{
			Code: "inventory-missing", Severity: fleet.Alarm,
			Message: fmt.Sprintf("Consul has no inventory although epoch %d was followed: keeping every certificate", f.head.Epoch),
			Hint:    "check this node's ACL token and whether the KV prefix was deleted",
		})
	case errors.Is(err, store.ErrRecord):
		f.problems.replace("inventory-contact", fleet.Problem{Code: "inventory-unreadable", Severity: fleet.Alarm, Message: err.Error(),
			Hint: "compare this node's keyring with the others'"})
	case errors.Is(err, store.ErrDenied):
		f.log.Error("inventory may not be read, keeping every certificate", "err", err)
		f.problems.replace("inventory-contact", fleet.Problem{Code: "inventory-denied", Severity: fleet.Alarm, Message: err.Error(),
			Hint: "let this node's ACL token read the fleet's keys; until then it serves what it has, and misses renewals"})
	}
}

// act brings the node nearer to the inventory, and sets when to try again.
func (f *certFollower) act(ctx context.Context) {
	if time.Now().Before(f.next) {
		return
	}
	f.again = false
	var errs []fleet.Problem
	if f.target != nil {
		errs = f.follow(ctx, *f.target)
	}
	many := len(f.todo) >= bulk
	if many {
		defer f.processors.Use()()
	}
	errs = append(append(errs, f.write(ctx)...), f.vanished()...)
	if many {
		f.served.compact()
		debug.FreeOSMemory() // the next such moment may be months away
	}
	if f.ledger.dirty {
		f.keepLedger() // news ended a quarantine
	}
	if ctx.Err() != nil {
		return
	}
	f.problems.replace("inventory", errs...)
	if f.again {
		f.wait, f.next = 0, time.Time{}
		return
	}
	if f.target == nil && len(f.todo) == 0 {
		f.wait, f.next = 0, time.Now().Add(certRetryMax)
		return
	}
	f.wait = min(max(2*f.wait, certRetry), certRetryMax)
	f.next = time.Now().Add(f.wait)
}

// follow fetches the shards that moved. The head counts as followed when all
// of them are here.
func (f *certFollower) follow(ctx context.Context, rec store.HeadRecord) []fleet.Problem {
	numbers, err := handlers.PlanHead(f.head, rec.Head, f.maxLoss)
	if err != nil {
		f.log.Error("inventory refused", "epoch", rec.Head.Epoch, "err", err)
		return []fleet.Problem{refusedInventory(err)}
	}
	if len(numbers) == 0 && rec.Head.Epoch == f.head.Epoch {
		f.target = nil
		f.known.ready(true)
		return nil
	}
	if len(numbers) >= bulkShards {
		defer f.processors.Use()()
		defer debug.SetGCPercent(debug.SetGCPercent(bulkGC))
	}
	recs, bad, err := f.store.ShardsOf(ctx, rec.Head, numbers)
	if err != nil {
		return []fleet.Problem{{Code: "inventory-unread", Severity: fleet.Warning, Message: err.Error()}}
	}
	var problems []fleet.Problem
	var whole []store.ShardRecord
	for _, n := range slices.Sorted(maps.Keys(bad)) {
		problems = append(problems, fleet.Problem{Code: fmt.Sprintf("shard-%d-refused", n), Severity: fleet.Alarm, Message: bad[n].Error()})
	}
	for _, r := range recs {
		if r.Shard.Epoch < rec.Head.Shards[r.Shard.Number] {
			problems = append(problems, fleet.Problem{Code: fmt.Sprintf("shard-%d-refused", r.Shard.Number), Severity: fleet.Alarm,
				Message: fmt.Sprintf("shard %d has epoch %d, the head says %d", r.Shard.Number, r.Shard.Epoch, rec.Head.Shards[r.Shard.Number])})
			continue
		}
		whole = append(whole, r)
	}
	copies := map[string][]byte{}
	for _, r := range whole {
		copies[shardCopy(r.Shard.Number)] = f.store.Own(store.ShardPath(r.Shard.Number), r.Sealed)
	}
	if err := f.renderer.SaveInventorySoon(copies); err != nil {
		return append(problems, unsaved(err))
	}
	for _, r := range whole {
		f.take(r.Shard)
	}
	if len(problems) > 0 || slices.ContainsFunc(numbers, func(n int) bool { return len(f.lost[n]) > 0 }) {
		return problems
	}
	f.after.follow(f.store.Own(store.HeadPath, rec.Sealed))
	f.head, f.target = rec.Head, nil
	f.known.ready(true)
	return nil
}

// take makes a shard the wanted state of its names.
func (f *certFollower) take(s inventory.Shard) {
	lost := inventory.Missing(f.known.shard(s.Number), s)
	if len(lost) > 0 {
		f.log.Error("names vanished from the inventory without a tombstone, keeping them", "shard", s.Number, "names", lost)
	}
	f.known.put(s)
	f.head.Shards[s.Number] = s.Epoch
	f.want(s)
	if f.miss(s, append(lost, f.lost[s.Number]...)); len(f.lost[s.Number]) > 0 {
		f.head.Shards[s.Number]-- // to be read again
	}
}

// want lists the names of a shard whose files are not as it says. A node on
// demand wants nothing new.
func (f *certFollower) want(s inventory.Shard) {
	for _, e := range s.Entries {
		f.wantEntry(e)
	}
}

func (f *certFollower) wantEntry(e fleet.Entry) {
	e = f.ledger.aim(e)
	have, served := f.served.bundle(e.Name)
	if !served && f.demand != nil {
		delete(f.todo, e.Name)
		return
	}
	if served == e.Removed || served && (have != e.Bundle || f.mending.damaged[have]) || !e.Removed && f.served.leaving(e.Name) {
		f.todo[e.Name] = e.Bundle
	} else {
		delete(f.todo, e.Name)
	}
}
