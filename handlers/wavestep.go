package handlers

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// WaveRules are how waves go.
type WaveRules struct {
	Canaries fleet.Share   // of the nodes in service
	Deadline time.Duration // for canaries to apply, and then to prove; others take the place of those that do not
}

// SitesReport is what a node says of the sites that it serves.
type SitesReport struct {
	Node   string
	Epoch  uint64   // that it serves
	Proved bool     // by handshake and HTTP check, for that epoch
	Failed string   // why that epoch could not be served; empty: it could, or that is not known yet
	Bad    []string // IDs of the sites that it could not serve; none: it is about all of them
}

// WaveView is what the leader knows when it looks after the wave.
type WaveView struct {
	Last    *Wave             // the record; nil: there is none
	Set     map[string]uint64 // sites of the head by ID, removed ones too: the epochs at which they were set
	Head    uint64            // epoch of the sites in Consul; 0: there are none
	Now     uint64            // highest epoch that an operator wants everywhere at once
	Nodes   []fleet.Node      // of the fleet
	Reports []SitesReport     // of those that report
}

// NextWave is the record that the leader has to write, and when it has to look
// again at the latest (zero: not without news). The record is View.Last's
// if there is nothing to write; nil if there are no sites.
func NextWave(v WaveView, r WaveRules, now time.Time) (*Wave, time.Time) {
	w := v.begin(now)
	if w == nil {
		return nil, time.Time{}
	}
	if v.Now >= w.Epoch && w.State != WaveRolled {
		w = w.to(WaveRolled, now)
		w.Canaries, w.Spent, w.Reason = nil, nil, ""
	}
	if w.Ended() {
		return w, time.Time{}
	}
	if why, bad := v.failure(*w); why != "" {
		w = w.to(WaveHalted, now)
		w.Reason, w.Out = why, v.without(*w, bad)
		return w, time.Time{}
	}
	if w = v.replace(w, r, now); w.Ended() {
		return w, time.Time{}
	}
	applied, proved := v.progress(*w)
	switch {
	case len(w.Canaries) == 0:
	case proved:
		return w.to(WaveRolled, now), time.Time{}
	case applied && w.State == WaveCanary:
		w = w.to(WaveProving, now)
	}
	return w, w.Since.Add(r.Deadline)
}

// begin is the record to go on with: a new one for a newer head. An older head
// is none: what was rolled out is not taken back because a snapshot was restored.
func (v WaveView) begin(now time.Time) *Wave {
	switch {
	case v.Last == nil && v.Head == 0:
		return nil
	case v.Last == nil && v.everywhere():
		// The record is lost, or waves are new; the sites are not.
		return &Wave{Epoch: v.Head, State: WaveRolled, Since: now}
	case v.Last == nil:
		return &Wave{Epoch: v.Head, State: WaveCanary, Since: now}
	case v.Head > v.Last.Epoch:
		return &Wave{Epoch: v.Head, Base: v.Last.next(), State: WaveCanary, Since: now, Out: v.stillOut()}
	}
	w := *v.Last
	return &w
}

// everywhere reports whether every node that serves sites has those of the head.
func (v WaveView) everywhere() bool {
	some := false
	for _, r := range v.Reports {
		if r.Epoch != v.Head && r.Epoch != 0 || r.Failed != "" {
			return false
		}
		some = some || r.Epoch == v.Head
	}
	return some
}

// to is the wave in another state.
func (w *Wave) to(state WaveState, now time.Time) *Wave {
	next := *w
	next.State, next.Since = state, now
	return &next
}

// report is what a node says of the wave's epoch; nothing counts that it says of
// another one.
func (v WaveView) report(w Wave, node string) SitesReport {
	for _, r := range v.Reports {
		if r.Node == node && r.Epoch == w.Epoch {
			return r
		}
	}
	return SitesReport{}
}

// failure is why a canary could not serve the wave's epoch, and because of which
// sites; "" if none says so.
func (v WaveView) failure(w Wave) (why string, bad []string) {
	for _, c := range w.Canaries {
		if r := v.report(w, c); r.Failed != "" {
			return c + ": " + r.Failed, r.Bad
		}
	}
	return "", nil
}

// without is what later waves go without: also these sites, unless they were set
// since the wave began.
func (v WaveView) without(w Wave, bad []string) map[string]uint64 {
	out := maps.Clone(w.Out)
	for _, id := range bad {
		if set := v.Set[id]; set > 0 && set <= w.Epoch {
			if out == nil {
				out = map[string]uint64{}
			}
			out[id] = set
		}
	}
	return out
}

// stillOut is what a new wave goes without: the sites that were out and were not
// set since. A head in which no site was set is to be tried as a whole.
func (v WaveView) stillOut() map[string]uint64 {
	if !slices.Contains(slices.Collect(maps.Values(v.Set)), v.Head) {
		return nil
	}
	var out map[string]uint64
	for id, set := range v.Last.Out {
		if v.Set[id] == set {
			if out == nil {
				out = map[string]uint64{}
			}
			out[id] = set
		}
	}
	return out
}

// progress reports whether all canaries have applied the wave's epoch, and
// whether all have proved it.
func (v WaveView) progress(w Wave) (applied, proved bool) {
	applied, proved = true, true
	for _, c := range w.Canaries {
		r := v.report(w, c)
		applied = applied && r.Epoch == w.Epoch
		proved = proved && r.Epoch == w.Epoch && r.Proved
	}
	return applied, proved
}

// replace takes other canaries for those that are out of service, and after the
// deadline for those that have not proved the epoch. It halts the wave when none
// is left that could.
func (v WaveView) replace(w *Wave, r WaveRules, now time.Time) *Wave {
	serving := map[string]bool{}
	for _, n := range v.Nodes {
		if n.InService() {
			serving[n.Name] = true
		}
	}
	late := !now.Before(w.Since.Add(r.Deadline))
	next := *w
	next.Canaries, next.Spent = nil, slices.Clone(w.Spent)
	for _, c := range w.Canaries {
		switch {
		case !serving[c]: // it may be one again
		case late && !v.report(*w, c).Proved:
			next.Spent = append(next.Spent, c)
		default:
			next.Canaries = append(next.Canaries, c)
		}
	}
	slices.Sort(next.Spent)
	kept := len(next.Canaries)
	next.Canaries = next.pick(v.Nodes, min(r.Canaries.Of(len(serving)), len(serving)))
	switch {
	case slices.Equal(next.Canaries, w.Canaries) && slices.Equal(next.Spent, w.Spent):
		return w
	case len(next.Canaries) == 0 && len(next.Spent) > 0:
		halted := next.to(WaveHalted, now)
		halted.Reason = fmt.Sprintf("no canary has proved it within %s each: %s", r.Deadline, strings.Join(next.Spent, ", "))
		return halted
	case len(next.Canaries) > kept: // somebody new has to apply it
		return next.to(WaveCanary, now)
	}
	return &next
}
