package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/site"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/handlers"
)

// waves is the leader's work on the sites: it takes each version of them to the
// nodes, by a record that says who may serve which one. Where no node has waves
// and none ever had, it writes nothing.
type waves struct {
	log      hclog.Logger
	store    *store.Store
	problems *problems
	rules    handlers.WaveRules
	atOnce   bool // every version goes to all nodes
	wake     wake
	seen     *leading
	followed atomic.Bool // a node that reports has waves

	last  store.WaveRecord // as this leader has read or written it last
	swept bool             // nothing is pinned that nobody needs
}

func newWaves(cfg config.Config, log hclog.Logger, st *store.Store, probs *problems, seen *leading) *waves {
	return &waves{
		log: log, store: st, problems: probs, wake: newWake(), seen: seen, atOnce: !cfg.Sites.Waves,
		rules: handlers.WaveRules{Canaries: cfg.Sites.Canary, Deadline: cfg.Sites.ProveWithin},
	}
}

// Run looks after the wave until ctx, which lasts as long as the lease, ends.
func (w *waves) Run(ctx context.Context, session string) {
	defer w.problems.replace("waves")
	defer w.problems.replace("waves-pinned")
	w.last, w.swept = store.WaveRecord{}, false
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() {
		if err := w.store.WatchSiteHead(ctx, func(store.SiteHeadRecord, error) { w.wake.give() }); err != nil {
			w.log.Warn("sites not watched", "err", err)
		}
	})
	for {
		wait, err := w.look(ctx, session)
		switch {
		case ctx.Err() != nil, errors.Is(err, store.ErrFenced):
			return
		case errors.Is(err, store.ErrConflict):
			wait = lookRaced
			w.log.Debug("wave looked at again", "err", err)
		case err != nil && w.idle():
			wait = fleet.UntilBeat(lookIdle)
			w.problems.replace("waves")
			w.log.Debug("wave that no node follows not written", "err", err)
		case err != nil:
			w.log.Warn("leader could not look after the sites", "next", lookWaiting, "err", err)
			wait = lookWaiting
			w.problems.replace("waves", fleet.Problem{
				Code: "wave-held", Severity: fleet.Alarm, Message: err.Error(),
				Hint: "no change of sites reaches the nodes; give the token of each node that may lead the rules that tlsfleet policy prints",
			})
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-w.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// reported looks which nodes have waves.
func (w *waves) reported(reports []fleet.Report) {
	has := slices.ContainsFunc(reports, func(r fleet.Report) bool { return r.Waves })
	if w.followed.Swap(has) != has {
		w.wake.give()
	}
}

// news has it look again if nodes have waves.
func (w *waves) news() {
	if !w.idle() {
		w.wake.give()
	}
}

// idle reports whether no node needs a wave.
func (w *waves) idle() bool { return w.atOnce && !w.followed.Load() }

// look reads afresh, decides, writes, and says when to look again at the latest.
func (w *waves) look(ctx context.Context, session string) (time.Duration, error) {
	if w.idle() {
		// One that there is from before is kept up, for nodes that have waves again.
		if _, err := w.store.Wave(ctx); errors.Is(err, store.ErrMissing) || errors.Is(err, store.ErrDenied) {
			w.problems.replace("waves")
			return fleet.UntilBeat(lookIdle), nil
		}
	}
	head, v, err := w.read(ctx, session)
	if err != nil {
		return 0, err
	}
	next, wake := handlers.NextWave(v, w.rules, time.Now().UTC().Truncate(time.Millisecond))
	if next == nil {
		w.problems.replace("waves")
		return fleet.UntilBeat(lookIdle), nil
	}
	if v.Last == nil || !reflect.DeepEqual(*next, *v.Last) {
		if err := w.write(ctx, session, head, *next, v.Last); err != nil {
			return 0, err
		}
	}
	w.tell(w.last.Wave, v)
	if err := w.sweep(ctx, session); err != nil {
		w.log.Warn("former versions of sites not removed", "err", err)
	}
	wait := fleet.UntilBeat(lookIdle)
	if !w.last.Wave.Ended() {
		wait = lookWaiting
	}
	if left := time.Until(wake); left > 0 { // else there is nobody to wait for
		wait = min(wait, left)
	}
	return wait, nil
}

// read takes the leader's view; the record is read last, so that nothing is
// decided by reports from before it that are about another one.
func (w *waves) read(ctx context.Context, session string) (store.SiteHeadRecord, handlers.WaveView, error) {
	var v handlers.WaveView
	head, err := w.store.SiteHead(ctx)
	if err != nil && !errors.Is(err, store.ErrMissing) {
		return head, v, err
	}
	v.Head, v.Now, v.Set = head.Head.Epoch, head.Head.Now, map[string]uint64{}
	for _, e := range head.Head.Sites {
		v.Set[e.ID] = e.Epoch
	}
	if w.atOnce {
		v.Now = v.Head
	}
	reports, _, err := w.store.Reports(ctx)
	if err != nil {
		return head, v, err
	}
	if v.Nodes, err = w.store.Nodes(ctx); err != nil {
		return head, v, err
	}
	v.Last, err = w.record(ctx, session)
	if err != nil && (v.Head != 0 || !errors.Is(err, store.ErrDenied)) { // a fleet without sites needs no such right
		return head, v, err
	}
	epoch := v.Head
	if v.Last != nil {
		epoch = max(epoch, v.Last.Epoch)
	}
	v.Nodes = able(v.Nodes, reports)
	for _, r := range reports {
		v.Reports = append(v.Reports, sitesReport(r, epoch))
	}
	return head, v, nil
}

// able leaves out the nodes that say that they have no waves, or that their nginx
// has not been started: they prove nothing.
func able(nodes []fleet.Node, reports []fleet.Report) []fleet.Node {
	return slices.DeleteFunc(nodes, func(n fleet.Node) bool {
		return slices.ContainsFunc(reports, func(r fleet.Report) bool {
			return r.Node == n.Name && (!r.Waves || r.Reload.Result == fleet.ReloadNotRunning && r.Proved == 0)
		})
	})
}

// record reads the wave; nil: there is none. One that others have removed or
// damaged is written again if this leader has it.
func (w *waves) record(ctx context.Context, session string) (*handlers.Wave, error) {
	rec, err := w.store.Wave(ctx)
	switch {
	case err == nil:
		w.last = rec
	case errors.Is(err, store.ErrSchema), !errors.Is(err, store.ErrMissing) && !errors.Is(err, store.ErrRecord):
		return nil, err
	case w.last.Wave.Epoch == 0:
		w.last.Index = rec.Index
		return nil, nil //nolint:nilnil // there is none
	default:
		w.log.Warn("record of the wave is missing or damaged, writing it again", "err", err)
		w.last.Index = rec.Index
		if rec, err = w.store.PutWave(ctx, w.last.Wave, w.last, session); err != nil {
			return nil, err
		}
		w.last = rec
	}
	return &w.last.Wave, nil
}

// sitesReport is what a node says of the epoch of a wave.
func sitesReport(r fleet.Report, epoch uint64) handlers.SitesReport {
	p := r.SitesProof
	if p.Epoch == epoch && p.Failed != "" {
		return handlers.SitesReport{Node: r.Node, Epoch: epoch, Failed: p.Failed, Bad: strings.Fields(p.Bad)}
	}
	return handlers.SitesReport{Node: r.Node, Epoch: r.Sites, Proved: p.Proved && p.Epoch == r.Sites}
}

// write pins what a new wave brings, and then lets the nodes know.
func (w *waves) write(ctx context.Context, session string, head store.SiteHeadRecord, next handlers.Wave, last *handlers.Wave) error {
	if last == nil || last.Epoch != next.Epoch {
		if err := w.pin(ctx, session, head.Head, next); err != nil {
			return err
		}
	}
	rec, err := w.store.PutWave(ctx, next, w.last, session)
	if err != nil {
		return err
	}
	w.last, w.swept = rec, false
	w.log.Info("wave of sites", "epoch", next.Epoch, "base", next.Base, "state", string(next.State), "canaries", next.Canaries, "reason", next.Reason)
	return nil
}

// pin keeps the sites of the head as they are now, beside those to go back to; those
// that are out as they are there.
func (w *waves) pin(ctx context.Context, session string, head site.Head, next handlers.Wave) error {
	var from site.Head
	if next.Base > 0 {
		rec, err := w.store.PinnedHead(ctx, next.Base)
		if err != nil && !errors.Is(err, store.ErrMissing) && !errors.Is(err, store.ErrRecord) {
			return err
		}
		from = rec.Head
	}
	bad, err := w.store.PinSites(ctx, head, from, slices.Collect(maps.Keys(next.Out)), session)
	if err != nil {
		return err
	}
	var list []fleet.Problem
	if len(bad) > 0 {
		list = append(list, fleet.Problem{Code: "site-unreadable", Severity: fleet.Alarm, Message: reasons(bad),
			Hint: "set the site again; until then it is served as it was, if it was"})
	}
	w.problems.replace("waves-pinned", list...)
	return nil
}

// sweep removes the versions that no node may serve any more.
func (w *waves) sweep(ctx context.Context, session string) error {
	if w.swept {
		return nil
	}
	v := w.last.Wave
	keep := []uint64{v.Epoch}
	if v.State != handlers.WaveRolled && v.Base > 0 {
		keep = append(keep, v.Base)
	}
	_, err := w.store.UnpinSites(ctx, keep, session)
	w.swept = err == nil
	return err
}

// tell makes visible where a person is needed.
func (w *waves) tell(v handlers.Wave, seen handlers.WaveView) {
	w.seen.wave(v)
	var list []fleet.Problem
	if v.State == handlers.WaveHalted {
		list = append(list, fleet.Problem{Code: "wave-halted", Severity: fleet.Alarm, Message: fmt.Sprintf("sites at epoch %d are halted: %s", v.Epoch, haltedWhy(v)),
			Hint: "mend the sites that are named and set them again; others of the change go without them once they are set again as they are; " +
				"tlsfleet site retry tries all of them once more, with --now on every node at once"})
	}
	if len(v.Out) > 0 && v.State != handlers.WaveHalted {
		list = append(list, fleet.Problem{Code: "sites-out", Severity: fleet.Alarm,
			Message: fmt.Sprintf("sites that a canary could not serve stay as they were: %s", fewNames(slices.Sorted(maps.Keys(v.Out)))),
			Hint:    "mend them and set them again; tlsfleet site retry tries them once more as they are"})
	}
	if seen.Head < v.Epoch {
		message := fmt.Sprintf("the list of sites in Consul is at epoch %d, older than epoch %d, which is on the nodes: keeping every site", seen.Head, v.Epoch)
		list = append(list, fleet.Problem{Code: "sites-refused", Severity: fleet.Alarm, Message: message,
			Hint: "tlsfleet site retry makes a newer list of what is there; if it is not there, compare the token's rights and whether the KV prefix was deleted"})
	}
	w.problems.replace("waves", list...)
}

// haltedWhy says why a wave is halted and what that means.
func haltedWhy(v handlers.Wave) string {
	serving := fmt.Sprintf("every node serves epoch %d", v.Base)
	if v.Base == 0 {
		serving = "no node serves it"
	}
	return fmt.Sprintf("%.600s; %s", v.Reason, serving)
}
