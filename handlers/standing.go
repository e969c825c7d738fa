package handlers

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Standing is where one node stands towards the ring in force.
type Standing struct {
	Node    string `json:"node"`
	Proved  bool   `json:"proved"`
	Waiting bool   `json:"waiting"`       // in service and not proved: a rotation waits for it
	Epoch   uint64 `json:"epoch"`         // epoch it applied
	Why     string `json:"why,omitempty"` // why it has not proved the ring
	Alive   bool   `json:"alive"`         // it reports
	Drained bool   `json:"drained"`       // in maintenance: does not count
}

// Standings lists every node of the fleet, sorted by name: those in the
// catalog and those that report. A node in maintenance never waits.
func Standings(r fleet.Ring, nodes []fleet.Node, reports []fleet.Report) []Standing {
	byName := make(map[string]fleet.Report, len(reports))
	for _, rep := range reports {
		byName[rep.Node] = rep
	}
	var out []Standing
	listed := map[string]bool{}
	for _, n := range nodes {
		rep, alive := byName[n.Name]
		listed[n.Name] = true
		out = append(out, standing(r, n, rep, alive))
	}
	for _, rep := range reports {
		if !listed[rep.Node] {
			out = append(out, standing(r, fleet.Node{Name: rep.Node}, rep, true))
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Node < out[j].Node })
	return out
}

func standing(r fleet.Ring, n fleet.Node, rep fleet.Report, alive bool) Standing {
	s := Standing{Node: n.Name, Epoch: rep.Applied, Alive: alive, Drained: !n.InService()}
	s.Proved = r.Epoch > 0 && alive && rep.Mode == fleet.ModeRing && rep.Proved == r.Epoch && rep.Ring == r.Digest()
	if s.Proved {
		return s
	}
	s.Waiting = !s.Drained
	s.Why = whyUnproved(r, rep, alive)
	return s
}

func whyUnproved(r fleet.Ring, rep fleet.Report, alive bool) string {
	switch {
	case !alive:
		return "no report: its agent is down or cannot reach Consul"
	case rep.Mode == fleet.ModePerHost:
		return "seals with keys of its own: " + firstProblem(rep)
	case rep.Applied == r.Epoch && rep.Ring != r.Digest():
		return fmt.Sprintf("has another ring of epoch %d: %s", r.Epoch, firstProblem(rep))
	case rep.Applied != r.Epoch:
		return fmt.Sprintf("has epoch %d of %d: %s", rep.Applied, r.Epoch, firstProblem(rep))
	default:
		return "has not proved it by handshake: " + firstProblem(rep)
	}
}

func firstProblem(rep fleet.Report) string {
	for _, p := range rep.Problems {
		if p.Severity == fleet.Alarm {
			return p.Message
		}
	}
	if rep.Reload.Err != "" && rep.Reload.Result != fleet.ReloadOK {
		return rep.Reload.Err
	}
	if len(rep.Problems) > 0 {
		return rep.Problems[0].Message
	}
	return "on its way, last report at " + rep.At.UTC().Format(time.TimeOnly) + " UTC"
}

// Waiting filters the standings that a rotation waits for.
func Waiting(all []Standing) []Standing {
	var out []Standing
	for _, s := range all {
		if s.Waiting {
			out = append(out, s)
		}
	}
	return out
}

// Names lists the nodes of standings.
func Names(all []Standing) []string {
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.Node
	}
	return names
}

// Describe is one line that names each node with its reason.
func Describe(all []Standing) string {
	parts := make([]string, len(all))
	for i, s := range all {
		parts[i] = fmt.Sprintf("%s (%s)", s.Node, s.Why)
	}
	return strings.Join(parts, "; ")
}
