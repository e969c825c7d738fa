package renderer

import (
	"context"
	"fmt"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// proofs are what handshakes with every listener showed.
type proofs struct {
	listeners []fleet.Listener
	seen      []fleet.ListenerProof // same order
}

func (r *Renderer) prove(ctx context.Context, ls []fleet.Listener) proofs {
	if len(ls) == 0 {
		return proofs{}
	}
	return proofs{listeners: ls, seen: r.prober.Prove(ctx, ls)}
}

// shows reports whether every version the listener speaks shows want. A zero
// want accepts any key. A skipped listener has nothing to show.
func shows(p fleet.ListenerProof, want fleet.KeyName) bool {
	if p.Skipped != "" {
		return true
	}
	some := false
	for _, t := range p.TLS {
		if t.Absent {
			continue
		}
		if t.Err != "" || t.Key.IsZero() || !want.IsZero() && t.Key != want {
			return false
		}
		some = true
	}
	return some
}

// alive reports whether a handshake on the listener ended in a ticket.
func alive(p fleet.ListenerProof) bool {
	for _, t := range p.TLS {
		if !t.Key.IsZero() {
			return true
		}
	}
	return false
}

// all reports whether every listener shows want.
func (ps proofs) all(want fleet.KeyName) bool {
	for _, p := range ps.seen {
		if !shows(p, want) {
			return false
		}
	}
	return len(ps.seen) == len(ps.listeners)
}

// settled reports whether waiting longer can show nothing better: what is not
// proved yet is hidden by the operator's own key or was dead before, too.
func (ps proofs) settled(want fleet.KeyName, before proofs) bool {
	for i, p := range ps.seen {
		if shows(p, want) || ps.listeners[i].HiddenBy != "" && alive(p) {
			continue
		}
		if !alive(p) && before.known(p) && !before.alive(p) {
			continue
		}
		return false
	}
	return len(ps.seen) == len(ps.listeners)
}

func (ps proofs) known(p fleet.ListenerProof) bool { _, ok := ps.find(p); return ok }

func (ps proofs) alive(p fleet.ListenerProof) bool {
	q, ok := ps.find(p)
	return ok && alive(q)
}

func (ps proofs) find(p fleet.ListenerProof) (fleet.ListenerProof, bool) {
	for _, q := range ps.seen {
		if q.Address == p.Address && q.Listen == p.Listen {
			return q, true
		}
	}
	return fleet.ListenerProof{}, false
}

// broken lists the listeners that gave tickets before and give none now.
// Taking the release back may mend those and no others: a foreign key on a
// listener is in the operator's configuration, whatever release is active.
func (ps proofs) broken(before proofs) []string {
	var names []string
	for _, p := range ps.seen {
		if p.Skipped == "" && !alive(p) && before.alive(p) {
			names = append(names, fmt.Sprintf("listen %s: %s", p.Listen, describe(p)))
		}
	}
	return names
}

// problems is one problem that names every listener that is not proved; a
// listener whose own key hides the ring is reported by Inspect.
func (ps proofs) problems(want fleet.KeyName) []fleet.Problem {
	var messages, hints []string
	for i, p := range ps.seen {
		l := ps.listeners[i]
		if shows(p, want) || l.HiddenBy != "" && alive(p) {
			continue
		}
		messages = append(messages, fmt.Sprintf("listen %s: %s", p.Listen, describe(p)))
		hint := fmt.Sprintf("look at the default server of listen %s, %s:%d", l.Listen, l.File, l.Line)
		if l.ServerName == "" && !alive(p) {
			hint = fmt.Sprintf("no server of listen %s has a plain server_name to ask for: add one", l.Listen)
		}
		hints = append(hints, hint)
	}
	if len(messages) == 0 {
		return nil
	}
	key := "a ticket"
	if !want.IsZero() {
		key = "ticket key " + want.String()
	}
	return []fleet.Problem{problem(CodeListenerUnproved, fleet.Alarm,
		fmt.Sprintf("%s was not seen: %s", key, strings.Join(messages, "; ")), strings.Join(hints, "; "))}
}

func describe(p fleet.ListenerProof) string {
	var parts []string
	for _, t := range p.TLS {
		switch {
		case t.Err != "":
			parts = append(parts, "TLS "+t.Version+": "+t.Err)
		case t.Absent:
		default:
			parts = append(parts, "TLS "+t.Version+" shows "+t.Key.String())
		}
	}
	if len(parts) == 0 {
		return "no handshake"
	}
	return strings.Join(parts, ", ")
}
