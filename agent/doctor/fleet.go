package doctor

import (
	"fmt"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Ring is what was found of the ticket keys on this node.
type Ring struct {
	Mode    fleet.Mode
	Err     error // of reading the active release
	Changed time.Time
	Epoch   uint64
	Every   time.Duration // between rotations
	Grace   time.Duration // after that, until the policy decides
}

// Judge gives the finding "ring".
func (r Ring) Judge(now time.Time) Finding {
	const id = "ring"
	switch {
	case r.Err != nil:
		return unseen(id, r.Err)
	case r.Mode == fleet.ModeNone:
		return warning(id, "start the agent: systemctl start tlsfleet", "no ring was applied on this node yet")
	case r.Mode == fleet.ModePerHost:
		return failure(id, "see that Consul can be reached and the agent runs", "nginx seals with keys of its own: its tickets are worth nothing on other nodes")
	case r.Changed.IsZero():
		return skipped(id, "", "the ring of the active release cannot be opened")
	}
	age := now.Sub(r.Changed)
	if age > r.Every+r.Grace {
		return warning(id, "tlsfleet status names what a rotation waits for",
			"ring epoch %d was made %s, rotations are due every %s", r.Epoch, days(age), r.Every)
	}
	return ok(id, "ring epoch %d was made %s", r.Epoch, days(age))
}

// StaleReport is from which age on a report says that its agent is in trouble:
// it is refreshed each 30 s.
const StaleReport = 2 * time.Minute

// Member is a node of the fleet as Consul knows it.
type Member struct {
	Name     string
	Proved   bool      // the ring in force, or in maintenance
	Reported time.Time // zero: never
}

// Members judges the nodes of the fleet; the findings are "nodes" and "reports".
func Members(list []Member, ringErr string, err error, now time.Time) []Finding {
	const nodes, reports = "nodes", "reports"
	if err != nil {
		return []Finding{skipped(nodes, "", "%v", err), skipped(reports, "", "%v", err)}
	}
	var unproved, stale []string
	for _, m := range list {
		if !m.Proved {
			unproved = append(unproved, m.Name)
		}
		switch {
		case m.Reported.IsZero():
			stale = append(stale, m.Name+" (none)")
		case now.Sub(m.Reported) > StaleReport:
			stale = append(stale, fmt.Sprintf("%s (%s)", m.Name, days(now.Sub(m.Reported))))
		}
	}
	out := []Finding{ok(nodes, "all %d nodes have proved the ring", len(list)), ok(reports, "all %d reports are fresh", len(list))}
	switch {
	case ringErr != "":
		out[0] = failure(nodes, "tlsfleet status says more", "%s", ringErr)
	case len(unproved) > 0:
		out[0] = warning(nodes, "tlsfleet status says why; mend them, or put them into maintenance", "not proved by %s", few(unproved))
	}
	if len(stale) > 0 {
		out[1] = warning(reports, "start the agent there, and see that it reaches Consul", "old or missing: %s", few(stale))
	}
	return out
}

// Agent judges what the agent of this node says of itself.
func Agent(problems []fleet.Problem, err error) Finding {
	const id = "agent"
	if err != nil {
		return warning(id, "systemctl start tlsfleet, or run this as root", "%v", err)
	}
	var worst *fleet.Problem
	for i, p := range problems {
		if worst == nil || p.Severity == fleet.Alarm && worst.Severity != fleet.Alarm {
			worst = &problems[i]
		}
	}
	if worst == nil {
		return ok(id, "the agent runs and has no problem")
	}
	more := ""
	if n := len(problems) - 1; n > 0 {
		more = fmt.Sprintf(" (and %d more)", n)
	}
	f := Finding{id, Warning, worst.Code + ": " + worst.Message + more, worst.Hint}
	if worst.Severity == fleet.Alarm {
		f.Level = Failure
	}
	if f.Mend == "" {
		f.Mend = `docs/operations.md, "Alarms and warnings in a report"`
	}
	return f
}
