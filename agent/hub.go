package agent

import (
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/handlers"
)

const (
	// maxSeen is how many event ids a node remembers: several times Consul's
	// buffer of 256.
	maxSeen = 1024
	// requestLife is how long a request waits for a leader that can act on it.
	requestLife = 24 * time.Hour
)

// hub gathers what Consul events ask for, from the agent's own watch and from
// watch handlers, each event once. Every agent gathers, so that a new leader
// knows what the old one left undone; only the leader acts.
type hub struct {
	fleet      string
	acceptKeys bool
	file       string // remembers the events seen, over restarts
	log        hclog.Logger
	problems   *problems
	wake       func()

	mu      sync.Mutex
	primed  bool // the buffer at the start is known, so what is unknown is new
	seen    map[string]bool
	order   []string // ids in seen, oldest first
	pending []handlers.Request
	awaited map[string]time.Time // adoptions noted before a restart, until Consul brings their keys again
}

// Accept takes events that a watch handler handed over: the whole buffer of
// Consul, again and again.
func (h *hub) Accept(events []fleet.Event) error {
	h.log.Debug("events handed over", "count", len(events))
	h.observe(events)
	return nil
}

// baseline takes the buffer as it was when the agent started, for an agent
// that only handlers bring events: nothing in it is new, unless the agent
// remembers an earlier look.
func (h *hub) baseline(events []fleet.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.primed {
		h.note(events)
	}
}

// observe takes the buffer as the agent's own watch reads it, or as a handler
// was given it.
func (h *hub) observe(events []fleet.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.note(events)
}

// note keeps what is new; the caller holds the lock. A first look with nothing
// remembered, whoever brings it, cannot tell old from new: it only remembers.
func (h *hub) note(events []fleet.Event) {
	onlyRemember := !h.primed
	news := !h.primed
	h.primed = true
	var refused []fleet.Problem
	for _, e := range events {
		req, meant, err := handlers.ReadEvent(e, h.fleet, h.acceptKeys, time.Now().UTC())
		if !meant || h.seen[req.ID] {
			continue
		}
		h.remember(req.ID)
		if at, ok := h.awaited[req.ID]; ok {
			req.Seen = at
			delete(h.awaited, req.ID)
		}
		news = true
		switch {
		case onlyRemember:
			h.log.Info("event taken for one from before this node's first start", "event", e.Name, "event_id", e.ID)
		case err != nil:
			h.log.Warn("event refused", "event", e.Name, "event_id", e.ID, "err", err)
			refused = append(refused, fleet.Problem{Code: "event-refused", Severity: fleet.Warning, Message: err.Error()})
		default:
			h.log.Info("event noted", "event", e.Name, "event_id", e.ID, "ltime", e.LTime)
			h.pending = append(h.pending, req)
			h.pending = h.pending[max(0, len(h.pending)-fleet.MaxRingEvents):]
		}
	}
	if !news {
		return
	}
	h.drop(func(handlers.Request) bool { return false })
	h.save()
	if len(refused) > 0 {
		refused = refused[len(refused)-1:]
	}
	h.problems.replace("events", refused...)
	h.wake()
}

// requests are those that nobody has acted on yet.
func (h *hub) requests() []handlers.Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]handlers.Request(nil), h.pending...)
}

// settle forgets requests that are done with: those listed, those that the
// ring has acted on, and those that waited too long.
func (h *hub) settle(r *fleet.Ring, ids ...string) {
	done := map[string]bool{}
	for _, id := range ids {
		done[id] = true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.drop(func(q handlers.Request) bool { return done[q.ID] || r != nil && r.Acted(q.ID) }) {
		h.save()
	}
}

// drop forgets requests that are done with, or too old, and reports whether
// there was one.
func (h *hub) drop(done func(handlers.Request) bool) bool {
	before := len(h.pending)
	h.pending = slices.DeleteFunc(h.pending, func(q handlers.Request) bool {
		return done(q) || time.Since(q.Seen) >= requestLife
	})
	return len(h.pending) < before
}

func (h *hub) remember(id string) {
	if h.seen[id] {
		return
	}
	h.seen[id] = true
	h.order = append(h.order, id)
	for len(h.order) > maxSeen {
		delete(h.seen, h.order[0])
		h.order = h.order[1:]
	}
}
