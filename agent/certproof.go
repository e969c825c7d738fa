package agent

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/handlers"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// sampled is how many of the names that one change has brought are looked at;
// those that nginx loads when it reads its configuration are tested all.
const sampled = 200

// try puts what has gone live on trial: some of it where nginx is known to
// serve it. before is what the names had.
func (f *certFollower) try(ctx context.Context, flips, before map[string]fleet.Hash, use certUse) {
	names := slices.Sorted(maps.Keys(flips))
	if !use.rendered {
		names = slices.DeleteFunc(names, func(name string) bool { return !use.held[name] })
	}
	names, left := sample(names, use.held)
	for _, name := range left {
		f.ledger.end(name)
	}
	for _, name := range names {
		q, in := f.ledger.Quarantine[name]
		if in && !q.Alone {
			f.ledger.end(name)
			continue // it was served before
		}
		t := certTrial{Bundle: flips[name], Back: f.ledger.lastGood(name, before[name]), At: time.Now(), Reload: use.reload}
		if was := f.ledger.Trials[name]; was.Reload && !t.Reload {
			t.Reload, t.At = true, was.At // the reload that the one before needs, which may have come
		}
		if in || t.Back == t.Bundle {
			t.Back = fleet.Hash{}
		}
		f.ledger.try(name, t, use.held[name])
	}
	if slices.ContainsFunc(names, func(name string) bool { return use.held[name] }) {
		f.testLive(ctx)
	}
	f.keepLedger()
}

// sample chooses the names to look at, at random: so many, and all that nginx
// loads.
func sample(names []string, held map[string]bool) (chosen, left []string) {
	if len(names) <= sampled {
		return names, nil
	}
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] }) //nolint:gosec // a sample needs no secrecy
	room := sampled
	for _, name := range names {
		switch {
		case held[name]:
			chosen = append(chosen, name)
		case room > 0:
			room--
			chosen = append(chosen, name)
		default:
			left = append(left, name)
		}
	}
	return chosen, left
}

// testLive lets nginx load what has gone live, so that it could not start from
// it for no longer than that takes.
func (f *certFollower) testLive(ctx context.Context) {
	refused, err := f.renderer.TestLive(ctx)
	if err != nil {
		f.log.Warn("live certificates not tested", "err", err)
		return
	}
	if refused == nil {
		clear(f.ledger.more)
	}
	f.refuse(refused)
}

// refuse puts bundles that nginx refuses to load into quarantine, whatever
// other names they serve.
func (f *certFollower) refuse(refused renderer.Refusal) {
	why := map[fleet.Hash]string{}
	names := slices.Collect(maps.Keys(refused))
	for _, r := range refused {
		why[r.Bundle] = r.Why
	}
	for _, trials := range []map[string]certTrial{f.ledger.Trials, f.ledger.more} {
		for name, t := range trials {
			if _, as := refused[name]; why[t.Bundle] != "" && !as {
				names = append(names, name)
			}
		}
	}
	for _, name := range names {
		have, served := f.served.bundle(name)
		if !served || why[have] == "" || f.ledger.Quarantine[name].Bundle == have {
			continue
		}
		t, _ := f.ledger.trial(name)
		f.condemn(name, quarantined{Bundle: have, Back: t.Back, Why: why[have]})
	}
	f.keepLedger()
}

// judge acts on what handshakes have shown.
func (f *certFollower) judge() {
	for name, found := range f.proof.take() {
		t, on := f.ledger.Trials[name]
		if have, served := f.served.bundle(name); !on || !served || t.Bundle != found.bundle || have != found.bundle {
			continue
		}
		q, back := f.ledger.Quarantine[name]
		switch {
		case found.verdict == servedNow:
			f.ledger.end(name)
			if back {
				q.Alone = false
				f.ledger.condemn(name, q)
			}
		case back && found.verdict != unseen:
			f.pardon(name, q)
		case found.verdict == guilty, found.verdict == alone && !t.Back.IsZero() && f.spared[name] != t.Bundle:
			f.condemn(name, quarantined{Bundle: t.Bundle, Back: t.Back, Why: found.why, Alone: found.verdict == alone})
			continue
		}
		if found.verdict == servedNow {
			delete(f.doubts, name)
		} else {
			f.doubts[name] = found.why
		}
	}
	f.keepLedger()
}

// condemn takes a bundle away from a name: it goes back to the last good one,
// or is not served.
func (f *certFollower) condemn(name string, q quarantined) {
	q.At = time.Now().UTC().Truncate(time.Second)
	if was, in := f.ledger.Quarantine[name]; in && was.Back == q.Bundle {
		// The inventory still wants the other one, which is no better.
		was.At, was.Back, was.Alone, was.Unsigned = q.At, fleet.Hash{}, false, was.Unsigned || q.Unsigned
		was.Why += "; the one before, " + short(q.Bundle) + ": " + q.Why
		q = was
	}
	if !q.Back.IsZero() && !f.renderer.HasBundle(q.Back) {
		q.Back = fleet.Hash{}
	}
	f.log.Error("certificate not served, taking it back", "name", name, "bundle", q.Bundle, "back_to", q.Back, "err", q.Why)
	f.ledger.condemn(name, q)
	f.aimAt(name)
}

// pardon serves a bundle again whose predecessor is not served either: nginx is
// to blame.
func (f *certFollower) pardon(name string, q quarantined) {
	f.log.Warn("certificate was not to blame, serving it again", "name", name, "bundle", q.Bundle)
	delete(f.ledger.Quarantine, name)
	f.ledger.end(name)
	f.ledger.dirty = true
	f.spared[name] = q.Bundle
	f.aimAt(name)
}

// aimAt brings a name to what it has to be served with now.
func (f *certFollower) aimAt(name string) {
	if e, known := f.known.lookup(name); known {
		f.wantEntry(e)
		f.wait, f.next, f.again = 0, time.Time{}, true
	}
}

// keepLedger saves the ledger, hands its trials to the prover and says what is
// in quarantine.
func (f *certFollower) keepLedger() {
	maps.DeleteFunc(f.doubts, func(name string, _ string) bool { _, on := f.ledger.Trials[name]; return !on })
	changed := f.ledger.dirty
	var list []fleet.Problem
	if err := f.ledger.save(); err != nil {
		list = append(list, unsaved(err))
	}
	if changed {
		f.proof.set(f.ledger.Trials)
		f.known.bar(f.ledger.barred())
	}
	f.problems.replace("proof", append(list, f.doubtful()...)...)
}

// doubtful are the problems of names whose certificate is not seen.
func (f *certFollower) doubtful() []fleet.Problem {
	var out []fleet.Problem
	if len(f.ledger.Quarantine) > 0 {
		out = append(out, f.ledger.problem())
	}
	if len(f.doubts) > 0 {
		var lines []string
		for _, name := range firstNames(f.doubts) {
			lines = append(lines, fmt.Sprintf("%s with %s (%s)", name, short(f.ledger.Trials[name].Bundle), f.doubts[name]))
		}
		out = append(out, fleet.Problem{Code: "certificate-unproved", Severity: fleet.Warning,
			Message: fmt.Sprintf("%d certificates are live and were not seen in a handshake: %s", len(f.doubts), strings.Join(lines, "; ")),
			Hint:    "nothing is taken back, because no other name shows that nginx is well; look at nginx and its error log"})
	}
	return out
}

// firstNames are the first few names of a map.
func firstNames[V any](m map[string]V) []string {
	const few = 3
	names := slices.Sorted(maps.Keys(m))
	return names[:min(few, len(names))]
}

// short is enough of a hash for people to tell bundles apart.
func short(h fleet.Hash) string { return h.String()[:12] }

// kept reports whether a bundle is the one that a name goes back to, and still
// here.
func (f *certFollower) kept(name string, hash fleet.Hash) bool {
	q, in := f.ledger.Quarantine[name]
	return in && q.Back == hash && f.renderer.HasBundle(hash) && !f.mending.damaged[hash]
}

// resume asks once more for the reload that certificates on trial wait for,
// unless it came before the agent ended.
func (f *certFollower) resume(ctx context.Context) {
	active := f.view.current()
	if active.Good {
		f.proof.release(active.MadeAt)
	}
	f.after.note(f.unfinished(), nil, nil, true)
	var c handlers.CertChange
	for name, t := range f.ledger.Trials {
		if t.Reload && (!active.Good || !t.At.Before(active.MadeAt)) {
			c.Replaced = append(c.Replaced, name)
		}
	}
	f.tell(ctx, c)
}
