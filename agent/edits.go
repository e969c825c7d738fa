package agent

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// How foreign edits are told.
const (
	editsShown  = time.Hour       // a report has them for so long after the last one
	editsEvery  = 5 * time.Second // it changes no more often
	editsNamed  = 3               // by path in a report
	editsLogged = 10              // by path in the log, of those found at once
)

// edits tells people what others have changed under the managed folders.
type edits struct {
	log      hclog.Logger
	problems *problems
	told     wake // there is something to show

	mu      sync.Mutex
	count   int
	last    []string // what was found, newest first
	exposed []string
	at      time.Time // of the newest
	shown   time.Time
	stale   bool // the report does not have the newest
}

// edited is an edit and what was done about it.
type edited struct {
	renderer.Edit
	done string
}

// tell logs what was found and takes it into the report.
func (e *edits) tell(now time.Time, found []edited) {
	if len(found) == 0 {
		return
	}
	for i, x := range found {
		if i == editsLogged {
			e.log.Warn("more foreign edits", "count", len(found)-i)
			break
		}
		e.log.Warn("foreign edit", "path", x.Path, "what", x.What, "done", x.done)
	}
	e.mu.Lock()
	for _, x := range found {
		e.count++
		e.last = newest(e.last, fmt.Sprintf("%s (%s): %s", x.Path, x.What, x.done))
		if x.Exposes {
			e.exposed = newest(e.exposed, fmt.Sprintf("%s (%s)", x.Path, x.What))
		}
	}
	e.at, e.stale = now, true
	e.mu.Unlock()
	e.show(now)
	e.told.give()
}

func newest(list []string, x string) []string {
	return append([]string{x}, list[:min(len(list), editsNamed-1)]...)
}

// show brings the report up to date and returns when it has to be called
// again; zero if not before the next edit.
func (e *edits) show(now time.Time) (again time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.count == 0:
		return time.Time{}
	case now.Sub(e.at) >= editsShown:
		e.count, e.last, e.exposed, e.stale = 0, nil, nil, false
		e.problems.replace("edits")
		return time.Time{}
	case !e.stale:
		return e.at.Add(editsShown)
	case now.Sub(e.shown) < editsEvery:
		return e.shown.Add(editsEvery)
	}
	e.shown, e.stale = now, false
	list := []fleet.Problem{{
		Code: "foreign-edit", Severity: fleet.Warning,
		Message: fmt.Sprintf("%d changes by others under the folders of tlsfleet, the newest: %s", e.count, strings.Join(e.last, "; ")),
		Hint:    "find out who made them; this is dropped an hour after the last one",
	}}
	if len(e.exposed) > 0 {
		list = append(list, fleet.Problem{
			Code: "keys-exposed", Severity: fleet.Alarm,
			Message: "keys were open to others than root and nginx's workers: " + strings.Join(e.exposed, "; "),
			Hint:    "if somebody may have read them: tlsfleet rotate-ticket --emergency for ticket keys, new certificates for private keys",
		})
	}
	e.problems.replace("edits", list...)
	return e.at.Add(editsShown)
}
