package agent

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/issuer"
	"github.com/tlsfleet/tlsfleet/agent/metrics"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// issueRules are the leader's settings for obtaining certificates.
type issueRules struct {
	cas       []issuer.CA          // asked in this order; none: nothing is obtained
	stagings  map[string]issuer.CA // of those that have one, by their names
	parallel  int                  // certificates worked on at a time
	preflight *issuer.Preflight
	nodes     bool // preflights go through each node too
	responder issuer.Responder
	published bool          // the nodes' agents are told the answers to HTTP-01
	soon      time.Duration // how soon a CA is asked for a first renewal window
	retry     time.Duration // how long work that broke off is left alone
}

// issue obtains and renews certificates for as long as this node leads.
type issue struct {
	log      hclog.Logger
	store    *store.Store
	rules    issueRules
	problems *problems
	notices  notices
	now      func() time.Time

	seen      *leading
	attempted func(outcome string) // told how each attempt ended
	journaled func(ids ...string)  // told which items may have changed; nil: nobody asks
	past      func() past          // nil: nothing is known

	processors *Processors
}

// issueRetry is the usual rules.retry.
const issueRetry = 10 * time.Second

// Run works until ctx, which lasts as long as the lease, ends. What it needs of
// Consul and is not there is tried again.
func (i *issue) Run(ctx context.Context, session string) {
	if len(i.rules.cas) == 0 {
		return
	}
	for ctx.Err() == nil {
		err := i.term(ctx, session)
		if ctx.Err() != nil || errors.Is(err, store.ErrFenced) {
			return
		}
		if errors.Is(err, errClock) || errors.Is(err, errReread) {
			i.log.Warn("beginning anew", "err", err)
			continue
		}
		i.log.Warn("issuance broke off", "next", i.rules.retry, "err", err)
		i.problems.replace("issuance", issuanceProblem(err))
		select {
		case <-ctx.Done():
		case <-time.After(i.rules.retry):
		}
	}
}

// term is the work on certificates between two reads of the journal. One
// goroutine plans; those that work on an item tell it what became of it.
type term struct {
	*issue
	session string
	key     *ecdsa.PrivateKey
	clients *clients
	planner *issuance.Planner
	names   map[string]string // name -> ID of the item it belongs to
	checks  issuance.Schedule // when to ask for a renewal window again
	silent  map[string]int    // how often in a row a CA gave none, by ID

	running  int
	ends     map[string]*ending // what is worked on, by ID
	looking  int
	results  chan outcome
	checked  chan outcome
	requests chan []store.QueuedRequest
	writer   *certWriter

	responder issuer.Responder
	stagings  stagings
	aside     sync.WaitGroup // what works beside the loop, but for attempts
}

// term works until ctx ends or something in Consul cannot be had.
func (i *issue) term(ctx context.Context, session string) error {
	ctx, stop := context.WithCancel(ctx)
	t := &term{
		issue: i, session: session, stagings: stagings{ledgers: map[string]*issuance.Ledger{}}, names: map[string]string{}, silent: map[string]int{}, ends: map[string]*ending{},
		results: make(chan outcome), checked: make(chan outcome), requests: make(chan []store.QueuedRequest, 1),
	}
	if err := t.open(ctx); err != nil {
		stop()
		return err
	}
	i.problems.replace("issuance")
	watched := make(chan error, 1)
	go func() { watched <- t.store.WatchRequests(ctx, t.bring(ctx)) }()
	t.aside.Go(func() { t.writer.run(ctx) })
	err := t.loop(ctx)
	stop()
	for t.running > 0 {
		<-t.results
		t.running--
	}
	t.aside.Wait()
	return errors.Join(err, <-watched)
}

// open reads what the last leader has left.
func (t *term) open(ctx context.Context) error {
	if err := t.openAccount(ctx); err != nil {
		return fmt.Errorf("open ACME account: %w", err)
	}
	if err := t.publish(ctx); err != nil {
		return err
	}
	first := t.rules.cas[0]
	used, err := t.store.Used(ctx, first.Name)
	if err != nil && !errors.Is(err, store.ErrRecord) {
		return err
	}
	if err != nil {
		t.log.Error("ledger refused, beginning with an empty one", "ca", first.Name, "err", err)
	}
	t.seen.restarted()
	now := t.now()
	t.planner = issuance.NewPlanner(issuance.NewLedger(first.Limits, issuance.UsedNow(used, now)))
	bad, err := t.store.Items(ctx, func(it issuance.Item) { t.set(it, now) })
	if err != nil {
		return err
	}
	for id, err := range bad {
		t.log.Error("item of the journal refused", "id", id, "err", err)
	}
	t.writer = newCertWriter(t)
	t.log.Info("issuing", "items", t.planner.Len(), "refused", len(bad))
	return nil
}

// set plans for an item.
func (t *term) set(it issuance.Item, now time.Time) {
	id := it.ID()
	for _, name := range it.Names {
		t.names[name] = id
	}
	before, _ := t.planner.Item(id)
	t.seen.moved(before.State, it.State)
	t.planner.Set(it, now)
	if it.State == issuance.Issued && it.Cert != nil && it.Cert.ID != "" {
		t.checks.Set(id, t.checkAt(it, now))
	} else {
		t.checks.Remove(id)
	}
}

// drop forgets an item.
func (t *term) drop(it issuance.Item) {
	for _, name := range it.Names {
		if t.names[name] == it.ID() {
			delete(t.names, name)
		}
	}
	if known, ok := t.planner.Item(it.ID()); ok {
		t.seen.moved(known.State, "")
	}
	t.planner.Remove(it.ID())
	t.checks.Remove(it.ID())
	delete(t.silent, it.ID())
}

// bring passes requests to the loop, the newest look at the queue only.
func (t *term) bring(ctx context.Context) func([]store.QueuedRequest) {
	return func(queue []store.QueuedRequest) {
		for {
			select {
			case t.requests <- queue:
				return
			case <-t.requests:
			case <-ctx.Done():
				return
			}
		}
	}
}

// errClock means that every time planned so far may be wrong.
var errClock = errors.New("the clock was set")

// clockSet reports whether a clock went otherwise than time did.
func clockSet(wall, passed time.Duration) bool { return (wall - passed).Abs() > time.Minute }

// loop plans until ctx ends.
func (t *term) loop(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	wall, began := t.now().Round(0), time.Now()
	for {
		now := t.now().Round(0)
		if clockSet(now.Sub(wall), time.Since(began)) {
			return errClock
		}
		wall, began = now, time.Now()
		select {
		case <-ctx.Done():
			return nil
		case o := <-t.results:
			t.running--
			if err := t.took(ctx, o); err != nil {
				return err
			}
		case o := <-t.checked:
			if err := t.looked(ctx, o); err != nil {
				return err
			}
		case queue := <-t.requests:
			if err := t.intake(ctx, queue); err != nil {
				return err
			}
		case <-timer.C:
		}
		next, err := t.fill(ctx)
		if err != nil {
			return err
		}
		timer.Reset(next.Sub(t.now()))
	}
}

// idle is when to look again without any news.
const idle = time.Minute

// fill begins as much work as there is room for, and says when to look again.
func (t *term) fill(ctx context.Context) (time.Time, error) {
	now := t.now()
	defer func() {
		left, until := t.planner.Ledger.Left(now)
		t.seen.spent(metrics.Budget{CA: t.rules.cas[0].Name, Left: left, Held: until})
	}()
	next := now.Add(idle)
	var begin []issuance.Item
	counted := false
	for t.running+len(begin) < t.rules.parallel {
		it, wait, ok := t.planner.Next(now)
		if !ok {
			if !wait.IsZero() && wait.Before(next) {
				next = wait
			}
			break
		}
		counted = counted || it.Counted()
		begin = append(begin, it)
	}
	if counted {
		// Before any of them is ordered: a successor may not order too many.
		ca := t.rules.cas[0]
		if err := t.store.PutUsed(ctx, ca.Name, t.planner.Ledger.Used(now), t.session); err != nil {
			return next, err
		}
	}
	for _, it := range begin {
		t.running++
		end := &ending{}
		t.ends[it.ID()] = end
		go func() {
			defer t.processors.Use()()
			t.results <- t.attempt(ctx, it, end)
		}()
	}
	if look := t.look(ctx, now); look.Before(next) {
		next = look
	}
	return next, nil
}
