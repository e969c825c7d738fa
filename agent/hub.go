package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/renameio/v2"
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
	file       string // remembers the ids of events seen, over restarts
	log        hclog.Logger
	problems   *problems
	wake       func()

	mu      sync.Mutex
	primed  bool // the buffer at the start is known, so what is unknown is new
	seen    map[string]bool
	order   []string // ids in seen, oldest first
	pending []handlers.Request
}

type hubFile struct {
	Seen []string `json:"seen"`
}

// openHub reads what stateDir remembers of earlier events.
func openHub(fleetName, stateDir string, acceptKeys bool, log hclog.Logger, p *problems, wake func()) (*hub, error) {
	h := &hub{
		fleet: fleetName, acceptKeys: acceptKeys, file: filepath.Join(stateDir, "events.json"),
		log: log, problems: p, wake: wake, seen: map[string]bool{},
	}
	data, err := os.ReadFile(h.file)
	if errors.Is(err, os.ErrNotExist) {
		return h, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read seen events: %w", err)
	}
	var f hubFile
	if err := json.Unmarshal(data, &f); err != nil {
		log.Warn("seen events are unreadable, starting over", "file", h.file, "err", err)
		return h, nil
	}
	for _, id := range f.Seen {
		h.remember(id)
	}
	h.primed = true
	return h, nil
}

// Accept takes events that a watch handler handed over: the whole buffer of
// Consul, again and again. An empty one says that all that follows are new.
func (h *hub) Accept(events []fleet.Event) error {
	h.log.Debug("events handed over", "count", len(events))
	h.take(events, len(events) > 1)
	return nil
}

// baseline takes the buffer as it was when the agent started, for an agent
// that only handlers bring events: nothing in it is new, unless the agent
// remembers an earlier run.
func (h *hub) baseline(events []fleet.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.primed {
		h.note(events, true)
	}
}

// observe takes the buffer as the agent's own watch reads it.
func (h *hub) observe(events []fleet.Event) { h.take(events, true) }

func (h *hub) take(events []fleet.Event, baseline bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.note(events, baseline)
}

// note keeps what is new; the caller holds the lock. A first look with nothing
// remembered cannot tell old from new: it only remembers, if baseline says
// that old ones are likely.
func (h *hub) note(events []fleet.Event, baseline bool) {
	onlyRemember := !h.primed && baseline
	news := !h.primed
	h.primed = true
	var refused []fleet.Problem
	for _, e := range events {
		req, meant, err := handlers.ReadEvent(e, h.fleet, h.acceptKeys, time.Now().UTC())
		if !meant || h.seen[req.ID] {
			continue
		}
		h.remember(req.ID)
		news = true
		switch {
		case onlyRemember:
			h.log.Debug("event is older than this agent", "event", e.Name, "event_id", e.ID)
		case err != nil:
			h.log.Warn("event refused", "event", e.Name, "event_id", e.ID, "err", err)
			refused = append(refused, fleet.Problem{Code: "event-refused", Severity: fleet.Warning, Message: err.Error()})
		default:
			h.log.Info("event noted", "event", e.Name, "event_id", e.ID, "ltime", e.LTime)
			h.pending = append(h.pending, req)
		}
	}
	if !news {
		return
	}
	if err := h.save(); err != nil {
		h.log.Warn("seen events not saved", "file", h.file, "err", err)
	}
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
	var keep []handlers.Request
	for _, q := range h.pending {
		if !done[q.ID] && (r == nil || !r.Acted(q.ID)) && time.Since(q.Seen) < requestLife {
			keep = append(keep, q)
		}
	}
	h.pending = keep
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

func (h *hub) save() error {
	data, err := json.Marshal(hubFile{Seen: h.order})
	if err != nil {
		return fmt.Errorf("encode seen events: %w", err)
	}
	return renameio.WriteFile(h.file, data, 0o600)
}
