package agent

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/handlers"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// How soon a node tries again.
const (
	proveSoon  = time.Second      // an unproved release, then twice as long each time
	proveLate  = 15 * time.Second // but no longer
	retryFirst = 5 * time.Second  // a release that could not be applied
	retryMost  = 5 * time.Minute  // the same, again and again
	cutOffLook = 10 * time.Second // whether a cut-off node's key has become stale
)

// follower keeps this node's nginx on the fleet's ring: it follows the ring in
// KV, decides by package handlers and lets the renderer act.
type follower struct {
	log        hclog.Logger
	store      *store.Store
	renderer   *renderer.Renderer
	view       *view
	problems   *problems
	pace       handlers.Pace
	reprove    time.Duration
	staleAfter time.Duration
	ringRead   func()                     // called after every ring that was read
	tls        func() renderer.TLSServers // what a release serves besides the ring
	sites      func() renderer.Sites      // virtual hosts
	challenges func() renderer.Challenges // and what it answers by itself
	asked      reloadRequest
	answered   wake                   // given when there is another answer to challenges
	refused    func(renderer.Refusal) // told which certificates nginx refused a release for
	released   func(began time.Time)  // told of a release that is in place
	reloaded   func(fleet.Reload)     // told of every release that was carried out
	splayed    func(time.Duration)    // and of the random part of the wait for it
	foreign    *releaseSuspect
	edits      *edits
	fight      fight
	mendAt     time.Time       // a repair that waits; zero: none
	recovered  chan struct{}   // closed by Run when what a crash left behind is mended
	turns      <-chan struct{} // somebody asks whether the loop comes around; nil: nobody does

	mail    mailbox[store.RingRecord]
	cutOff  bool
	contact contactTime
	strange int // proofs in a row that found nginx on another release
	change  *change
	slots   *slots
	turn    *turn     // nil: no reload waits for a slot or has one
	prev    time.Time // last reload
	proveAt time.Time

	proveWait time.Duration // until the next proof, growing while there is none

	processors *Processors
}

// Run follows until ctx ends. It starts by mending what a crash left behind.
func (f *follower) Run(ctx context.Context) error {
	f.mail.wake = newWake()
	f.recover(ctx)
	close(f.recovered)
	f.slots.begin(ctx)
	defer f.slots.end()
	defer f.endTurn()
	watched := make(chan error, 1)
	go func() { watched <- f.store.WatchRing(ctx, f.mail.put) }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case err := <-watched:
			return err
		case <-f.mail.wake:
			f.look()
		case <-f.asked.wake:
			if reason := f.asked.take(); reason != "" {
				f.renew(reason)
			}
		case <-f.answered:
			f.reanswer()
		case <-f.foreign.wake:
			f.mend(ctx)
		case <-f.turns:
			continue
		case <-f.turnCome():
		case <-timer.C:
			if !f.mendAt.IsZero() && !time.Now().Before(f.mendAt) {
				f.mend(ctx)
			}
		}
		f.act(ctx)
		timer.Reset(time.Until(f.nextTime()))
	}
}

// nextTime is when there may be something to do without any news.
func (f *follower) nextTime() time.Time {
	next := f.proveAt
	if f.change != nil && f.turn == nil && f.change.due.Before(next) {
		next = f.change.due
	}
	if !f.mendAt.IsZero() && f.mendAt.Before(next) {
		next = f.mendAt
	}
	if look := time.Now().Add(cutOffLook); f.cutOff && look.Before(next) {
		next = look
	}
	return next
}

// recover mends the node at the start: interrupted releases, lost key files.
func (f *follower) recover(ctx context.Context) {
	f.refresh(ctx, func() {})
	if ring, _ := f.view.own(); ring != nil {
		if err := f.renderer.WriteKeys(*ring); err != nil {
			f.log.Error("ticket keys not restored", "err", err)
		}
	}
	out, err := f.renderer.Recover(ctx)
	f.finish(ctx, out, err)
}

// look decides about what the watch has read.
func (f *follower) look() {
	rec, err := f.mail.take()
	if rec != nil {
		f.decide(*rec)
		f.ringRead()
	}
	f.judge(err)
}

// act does what is due.
func (f *follower) act(ctx context.Context) {
	if f.cutOff {
		f.considerStale()
	}
	now := time.Now()
	switch {
	case ctx.Err() != nil:
	case f.isDue(ctx):
		f.apply(ctx)
		f.endTurn()
	case !now.Before(f.proveAt):
		f.prove(ctx)
	}
}
