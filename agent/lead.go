package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/handlers"
)

// How often a leader looks without any news: for nodes drained or gone while a
// rotation waits for them, and otherwise.
const (
	lookRaced   = time.Second // after a write that met another ring than was read
	lookWaiting = 3 * time.Second
	lookIdle    = time.Minute
)

// damagedGrace is how long a damaged ring stays in Consul before the leader
// writes its own again.
const damagedGrace = 30 * time.Second

// errOutdone makes a leader step down so that a node can lead that holds the
// ring which Consul has lost.
var errOutdone = errors.New("another node holds a newer ring than this one")

// lead is the leader's work on the ring.
type lead struct {
	log      hclog.Logger
	node     string
	store    *store.Store
	view     *view
	hub      *hub
	problems *problems
	rules    handlers.Rules
	keep     int           // previous keys kept at least
	keepFor  time.Duration // and each for so long
	maxShare fleet.Share   // of the nodes in service that reload at once
	wake     wake
	tidy     *tidy
	issue    *issue
	waves    *waves
	notices  notices
	archives *archives

	resealing *resealing

	seen leading

	damaged time.Time // since when the ring's record cannot be opened; zero: it can
	alarm   string    // logged last
}

// Run leads until ctx, which lasts as long as the lease, ends. Every write is
// fenced by the session.
func (l *lead) Run(ctx context.Context, session string) error {
	if err := l.store.EnsureMeta(ctx, session); err != nil {
		l.blind(ctx, err)
		return fmt.Errorf("lead: %w", err)
	}
	defer l.problems.replace("leader")
	defer l.problems.replace("limit")
	defer l.seen.ended()
	l.log.Info("leading", "node", l.node)
	ctx, stop := context.WithCancel(ctx) // ends the parts when the lead ends by itself
	watched := make(chan error, 1)
	go func() {
		var last reportNews
		watched <- l.store.WatchReports(ctx, func(good []fleet.Report, bad []store.BadReport) {
			l.notices.reported(good)
			l.waves.reported(good)
			if last.differs(good, bad) {
				l.wake.give()
				l.waves.news()
			}
		})
	}()
	var beside sync.WaitGroup
	beside.Go(func() { l.tidy.Run(ctx, session) })
	beside.Go(func() { l.archives.Run(ctx) })
	beside.Go(func() { l.resealing.Run(ctx, session) })
	beside.Go(func() { l.waves.Run(ctx, session) })
	beside.Go(func() { l.issue.Run(ctx, session) })
	if l.notices.ends {
		beside.Go(func() { l.notices.expiring(ctx, l.store, l.log) })
	}
	defer func() {
		stop()
		beside.Wait()
		if err := <-watched; err != nil {
			l.log.Warn("reports not watched", "err", err)
		}
	}()
	for {
		wait, err := l.look(ctx, session)
		if errors.Is(err, store.ErrFenced) || errors.Is(err, errOutdone) {
			return fmt.Errorf("lead: %w", err)
		}
		if err != nil && ctx.Err() == nil {
			l.log.Warn("leader could not look after the ring", "next", wait, "err", err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-l.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// look reads afresh, decides, acts, and says when to look again at the latest.
func (l *lead) look(ctx context.Context, session string) (time.Duration, error) {
	v, rec, err := l.read(ctx)
	if err != nil {
		l.blind(ctx, err)
		return lookWaiting, err
	}
	l.hub.settle(v.Ring)
	l.seen.looked(v)
	if err := l.limitReloads(ctx, session, v.Nodes); err != nil {
		return lookWaiting, err
	}
	now := time.Now().UTC()
	d := handlers.Decide(v, l.rules, now)
	l.report(d)
	l.hub.settle(nil, d.Settled...)
	l.log.Debug("leader decided", "do", string(d.Do), "cause", string(d.Cause), "waiting", handlers.Names(d.Waiting))
	if d.Resign {
		return 0, errOutdone
	}
	if d.Do != handlers.Nothing {
		return l.carryOut(ctx, session, d, rec, now)
	}
	wait := fleet.UntilBeat(lookIdle)
	if len(d.Waiting) > 0 {
		wait = lookWaiting
	}
	if !d.Wake.IsZero() {
		wait = max(min(wait, time.Until(d.Wake)), 10*time.Millisecond)
	}
	return wait, nil
}

// read takes the leader's view; the ring is read last.
func (l *lead) read(ctx context.Context) (handlers.View, store.RingRecord, error) {
	own, high := l.view.own()
	v := handlers.View{Self: l.node, Own: own, HighWater: high, Requests: l.hub.requests()}
	reports, bad, err := l.store.Reports(ctx)
	if err != nil {
		return v, store.RingRecord{}, err
	}
	for _, b := range bad {
		l.log.Warn("report refused", "node", b.Node, "err", b.Err)
	}
	v.Reports, v.BadReport = reports, len(bad) > 0
	if v.Nodes, err = l.store.Nodes(ctx); err != nil {
		return v, store.RingRecord{}, err
	}
	rec, err := l.store.Ring(ctx)
	switch {
	case errors.Is(err, store.ErrMissing):
		return v, store.RingRecord{}, nil
	case err != nil:
		v.Damaged = l.damagedLong(err)
		if v.Damaged {
			return v, rec, nil
		}
		return v, store.RingRecord{}, err
	}
	l.damaged = time.Time{}
	v.Ring = &rec.Ring
	return v, rec, nil
}

// damagedLong reports whether the ring's record has been one that nobody with
// the keyring made, for so long that no operator is about to mend it. A record
// of a newer schema, or under a key that is not here, is not damaged.
func (l *lead) damagedLong(err error) bool {
	if !errors.Is(err, seal.ErrForged) && !errors.Is(err, seal.ErrFormat) {
		l.damaged = time.Time{}
		return false
	}
	if l.damaged.IsZero() {
		l.damaged = time.Now()
	}
	return time.Since(l.damaged) > damagedGrace
}

// blind tells that the leader cannot see what it needs for its decisions.
func (l *lead) blind(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	l.problems.replace("leader", fleet.Problem{
		Code: "leader-blind", Severity: fleet.Alarm, Message: err.Error(),
		Hint: "no rotation until the leader can read the ring, the reports and the catalog again",
	})
}

// report makes a decision that needs a person visible.
func (l *lead) report(d handlers.Decision) {
	for _, note := range d.Notes {
		l.log.Warn("event settled without a change", "reason", note)
	}
	if d.Alarm != l.alarm && d.Alarm != "" {
		l.log.Error("ring needs attention", "reason", d.Alarm)
	}
	l.alarm = d.Alarm
	if d.Alarm == "" {
		l.problems.replace("leader")
		return
	}
	l.problems.replace("leader", fleet.Problem{
		Code: "rotation-held", Severity: fleet.Alarm, Message: d.Alarm,
		Hint: "mend the nodes named, or take them out of service: consul maint -enable -service=<id of the node's tlsfleet service>",
	})
}
