package web

import (
	"context"
	"fmt"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Kinds of events.
const (
	kindLook         = "look"
	kindRing         = "ring"
	kindReload       = "reload"
	kindCertificates = "certificates"
	kindProblem      = "problem"
	kindSolved       = "solved"
	kindNode         = "node"
	kindLeader       = "leader"
)

// Run tells the streams what changes until ctx ends. While there are none it
// asks for nothing.
func (p *Pages) Run(ctx context.Context) error {
	defer p.streams.end()
	tick := time.NewTicker(fleetAge)
	defer tick.Stop()
	var before *Fleet
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-p.streams.first: // has just been shown the fleet, so that what changes from now on is news
		}
		if p.streams.count() == 0 {
			before = nil
			continue
		}
		now, err := p.fleet.get(ctx)
		if err != nil {
			continue // the page says it
		}
		if before == nil {
			p.streams.tell(Event{At: now.At, Kind: kindLook})
		} else {
			for _, e := range news(*before, now) {
				p.streams.tell(e)
			}
		}
		before = &now
	}
}

// news is what changed between two looks.
func news(before, now Fleet) []Event {
	n := &newsOf{at: now.At}
	if before.Ring.Epoch != now.Ring.Epoch {
		n.add(kindRing, "", "", fmt.Sprintf("ring of epoch %d, made by %s: %s", now.Ring.Epoch, now.Ring.By, now.Ring.Cause))
	}
	if before.Ring.Proved != now.Ring.Proved || before.Ring.Serving != now.Ring.Serving {
		n.add(kindRing, "", "", fmt.Sprintf("epoch %d is proved by %d of %d nodes", now.Ring.Epoch, now.Ring.Proved, now.Ring.Serving))
	}
	if before.Leader != now.Leader {
		text := now.Leader + " leads"
		if now.Leader == "" {
			text = "nobody leads"
		}
		n.add(kindLeader, "", now.Leader, text)
	}
	if before.Inventory != now.Inventory {
		n.add(kindCertificates, "", "", fmt.Sprintf("inventory of epoch %d: %d names", now.Inventory, now.Names))
	}
	old := make(map[string]Node, len(before.Nodes))
	for _, x := range before.Nodes {
		old[x.Name] = x
	}
	for _, x := range now.Nodes {
		was, known := old[x.Name]
		delete(old, x.Name)
		n.node(was, x, known)
	}
	for _, x := range before.Nodes {
		if _, gone := old[x.Name]; gone {
			n.add(kindNode, "", x.Name, "left the fleet")
		}
	}
	return n.events
}

type newsOf struct {
	at     time.Time
	events []Event
}

func (n *newsOf) add(kind string, severity fleet.Severity, node, text string) {
	n.events = append(n.events, Event{At: n.at, Kind: kind, Severity: string(severity), Node: node, Text: text})
}

// node adds what changed on one node. Names that it serves are told only once it
// has followed the inventory.
func (n *newsOf) node(was, now Node, known bool) {
	switch {
	case !known:
		n.add(kindNode, "", now.Name, "joined the fleet")
	case was.Alive && !now.Alive:
		n.add(kindNode, fleet.Warning, now.Name, "reports no more")
	case !was.Alive && now.Alive:
		n.add(kindNode, "", now.Name, "reports")
	}
	if was.Drained != now.Drained {
		n.add(kindNode, "", now.Name, map[bool]string{true: "in maintenance", false: "in service"}[now.Drained])
	}
	if r := now.Reload; known && now.Alive && r.Result != fleet.ReloadNone && (!r.At.Equal(was.Reload.At) || r.Release != was.Reload.Release) {
		n.reload(now.Name, r)
	}
	if known && now.Alive && was.Inventory != now.Inventory {
		n.add(kindCertificates, "", now.Name, fmt.Sprintf("follows inventory %d with %d names", now.Inventory, now.Names))
	}
	n.problems(was, now)
}

func (n *newsOf) reload(node string, r fleet.Reload) {
	severity, text := fleet.Severity(""), fmt.Sprintf("release %d: %s in %s (%s)", r.Release, r.Result, r.Took.Round(time.Millisecond), r.Reason)
	if r.Result != fleet.ReloadOK {
		severity = fleet.Warning
		text += ": " + r.Err
	}
	n.add(kindReload, severity, node, text)
}

func (n *newsOf) problems(was, now Node) {
	old := make(map[string]bool, len(was.Problems))
	for _, p := range was.Problems {
		old[p.Code] = true
	}
	for _, p := range now.Problems {
		if !old[p.Code] {
			n.add(kindProblem, p.Severity, now.Name, p.Code+": "+p.Message)
		}
		delete(old, p.Code)
	}
	for _, p := range was.Problems {
		if old[p.Code] && now.Alive {
			n.add(kindSolved, "", now.Name, p.Code)
		}
	}
}
