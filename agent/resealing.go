package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/handlers"
)

// When a leader looks whether records are to be sealed anew.
const (
	resealIdle  = time.Minute // without news: nodes come and go
	resealSoon  = time.Second // while it waits for nodes or archives
	resealRetry = 5 * time.Second
	resealTell  = time.Second // how often it says how far it is
)

// resealing is the leader's part in a rotation of the keyring: when the first key
// of its own keyring is another one than the records were last seen to be sealed
// with, and every node seals with it too, all records are sealed anew.
type resealing struct {
	log      hclog.Logger
	store    *store.Store
	view     *view
	problems *problems
	archives *archives

	processors *Processors

	told time.Time
}

// Run does so until ctx, which lasts as long as the lease, ends.
func (r *resealing) Run(ctx context.Context, session string) {
	wake := newWake()
	var watching sync.WaitGroup
	defer watching.Wait()
	defer r.problems.replace("keyring")
	defer r.tell(fleet.Sealing{})
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	watching.Go(func() {
		if err := r.store.WatchRotation(ctx, func(store.RotationRecord, error) { wake.give() }); err != nil {
			r.log.Warn("rotation of the keyring not watched", "err", err)
		}
	})
	for {
		wait, err := r.look(ctx, session)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			wait = resealRetry
			r.log.Warn("records not sealed anew", "next", wait, "err", err)
			r.problems.replace("keyring", fleet.Problem{Code: "records-not-resealed", Severity: fleet.Warning, Message: err.Error(),
				Hint: "tried again; if its token may not, give each node that may lead the rules that tlsfleet policy prints"})
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// look does what is to be done, and says when to look again.
func (r *resealing) look(ctx context.Context, session string) (time.Duration, error) {
	rotation, err := r.store.Rotation(ctx)
	if err != nil {
		return 0, err
	}
	state, err := r.store.SealState(ctx)
	if err != nil {
		return 0, err
	}
	want := store.SealState{Key: r.store.Keys()[0], Ask: rotation.Rotation.Ask}
	if keys := r.store.LeaderKeys(); len(keys) > 0 {
		want.Leaders = keys[0]
	}
	if state == want {
		r.problems.replace("keyring")
		return r.finished(want), nil
	}
	if state == (store.SealState{}) && want.Leaders == "" && len(r.store.Keys()) == 1 {
		return resealSoon, r.store.PutSealState(ctx, want, session) // what another key has sealed cannot be opened here
	}
	lacks, err := r.lacks(ctx, want, rotation.Rotation.Forced)
	if err != nil {
		return 0, err
	}
	if len(lacks) > 0 {
		r.hold(state, lacks)
		return resealSoon, nil
	}
	r.problems.replace("keyring")
	return resealSoon, r.reseal(ctx, session, want)
}

// lacks are the nodes that seal with other keys.
func (r *resealing) lacks(ctx context.Context, want store.SealState, forced string) ([]handlers.KeyLack, error) {
	reports, _, err := r.store.Reports(ctx)
	if err != nil {
		return nil, err
	}
	nodes, err := r.store.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	var lacks []handlers.KeyLack
	if forced != want.Key {
		lacks = handlers.LackSeal(nodes, reports, handlers.FleetKeys, false, want.Key)
	}
	if want.Leaders != "" && forced != want.Leaders {
		lacks = append(lacks, handlers.LackSeal(nodes, reports, handlers.LeaderKeys, true, want.Leaders)...)
	}
	return lacks, nil
}

// hold tells what is waited for, once there was a first time.
func (r *resealing) hold(state store.SealState, lacks []handlers.KeyLack) {
	if state.Key == "" {
		return
	}
	r.problems.replace("keyring", fleet.Problem{
		Code: "keyring-held", Severity: fleet.Warning,
		Message: "records are not sealed with this node's first key yet: " + handlers.DescribeKeys(lacks),
		Hint:    "give every node the same keyring; tlsfleet keyring list shows who has which keys",
	})
}

// reseal seals all records anew.
func (r *resealing) reseal(ctx context.Context, session string, want store.SealState) error {
	defer r.processors.Use()()
	sealing := fleet.Sealing{Key: want.Key, Leaders: want.Leaders}
	began := time.Now()
	done, err := r.store.Reseal(ctx, store.LeaderArea, session, func(d store.Resealed) {
		sealing.Seen, sealing.Total, sealing.Bad = d.Seen, d.Total, len(d.Bad)
		if time.Since(r.told) >= resealTell {
			r.tell(sealing)
		}
	})
	if err != nil {
		return err
	}
	for path, err := range done.Bad {
		r.log.Warn("record not sealed anew", "path", path, "err", err)
	}
	if err := r.store.PutSealState(ctx, want, session); err != nil {
		return err
	}
	r.archives.changed()
	if done.Changed > 0 {
		r.log.Info("records sealed anew", "key", want.Key, "records", done.Changed, "of", done.Seen, "took", time.Since(began).Round(time.Millisecond))
	}
	// Whoever reads that all is done takes the old key away.
	sealing.Done, sealing.Behind = true, r.archives.behind(want)
	r.tell(sealing)
	return nil
}

// finished tells that all is done, and which archives are not.
func (r *resealing) finished(state store.SealState) time.Duration {
	sealing := r.view.sealingNow()
	sealing.Key, sealing.Leaders, sealing.Done = state.Key, state.Leaders, true
	sealing.Behind = r.archives.behind(state)
	r.tell(sealing)
	if len(sealing.Behind) > 0 {
		return resealSoon
	}
	return fleet.UntilBeat(resealIdle)
}

// tell puts it into the node's report if it is news.
func (r *resealing) tell(s fleet.Sealing) {
	r.told = time.Now()
	if now := r.view.sealingNow(); fmt.Sprint(now) != fmt.Sprint(s) {
		r.view.update(func() { r.view.sealing = s })
	}
}
