package agent

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/status/web"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// dashboard is what the pages on the HTTP address show: the fleet from Consul,
// with this node's token, and names from memory.
type dashboard struct {
	console *Console
	view    *view
	known   *directory
}

// Fleet implements web.Source. A token that may not see the fleet shows its own
// node.
func (d dashboard) Fleet(ctx context.Context) (web.Fleet, error) {
	s, t, err := d.console.overview(ctx)
	if errors.Is(err, store.ErrDenied) {
		return d.alone(err), nil
	}
	if err != nil {
		return web.Fleet{}, err
	}
	f := d.frame()
	f.Leader, f.Inventory, f.Names = s.Leader, s.Inventory, s.Names
	f.Ring = ringOf(t)
	f.Ring.Proved, f.Ring.Serving, f.Ring.Skipped = s.Proved, s.Serving, s.Skipped
	f.Ring.Due, f.Ring.Error = s.Due, s.RingErr
	f.Ring.Policy = s.Policy
	f.Archives = archivesOf(s.Archives)
	for _, n := range s.Nodes {
		f.Nodes = append(f.Nodes, nodeOf(n))
	}
	return f, nil
}

func (d dashboard) frame() web.Fleet {
	return web.Fleet{Fleet: d.console.cfg.Fleet, Self: d.view.node, Version: d.view.version, At: time.Now().UTC(), Nodes: []web.Node{}}
}

// alone is this node by itself.
func (d dashboard) alone(denied error) web.Fleet {
	f, r := d.frame(), d.view.Report()
	f.Limited = "this node's Consul token may not read who leads and what waits (see the role leader in docs/operations.md, Access): " + denied.Error()
	f.Inventory, f.Names = r.Inventory, r.Names
	proved := false
	if ring, _ := d.view.own(); ring != nil {
		proved = r.Proved == ring.Epoch
		f.Ring = ringOf(ticketStatus(d.console.cfg, *ring))
		f.Ring.Due = ring.Current.Promoted.Add(d.console.cfg.Ticket.RotateEvery)
		f.Ring.Policy = string(d.console.cfg.Ticket.Policy)
	}
	f.Archives = archivesOf(archiveStatus(r.Archives, f.At))
	n := NodeStatus{Report: &r}
	n.Node, n.Alive, n.Proved = r.Node, true, proved
	f.Nodes = append(f.Nodes, nodeOf(n))
	return f
}

func ringOf(t TicketStatus) web.Ring {
	r := web.Ring{Epoch: t.Epoch, Changed: t.Changed, Cause: t.Cause, By: t.By, Promote: t.Promote, Keys: []web.Key{}}
	for _, k := range t.Keys {
		r.Keys = append(r.Keys, web.Key(k))
	}
	return r
}

func archivesOf(list []ArchiveStatus) []web.Archive {
	var all []web.Archive
	for _, a := range list {
		all = append(all, web.Archive(a))
	}
	return all
}

func nodeOf(n NodeStatus) web.Node {
	out := web.Node{
		Name: n.Node, Address: n.Address, Leader: n.Leader, Alive: n.Alive, Drained: n.Drained, Proved: n.Proved,
		Why: cmp.Or(n.BadErr, n.Why), Applied: n.Epoch,
	}
	if r := n.Report; r != nil {
		out.At, out.Mode, out.Applied, out.Release, out.Reload = r.At, r.Mode, r.Applied, r.Release, r.Reload
		out.Version, out.Nginx, out.Inventory, out.Names = r.Version, r.NginxVersion, r.Inventory, r.Names
		out.Resumption, out.Problems = r.Resumption, r.Problems
	}
	return out
}

// Backlog implements web.Source.
func (d dashboard) Backlog(ctx context.Context) (web.Backlog, error) {
	b := web.Backlog{States: map[issuance.State]int{}}
	bad, err := d.console.store.Items(ctx, func(it issuance.Item) {
		b.States[it.State]++
		if it.State != issuance.Waiting && it.State != issuance.Parked {
			return
		}
		b.Waiting = append(b.Waiting, waitingOf(it))
		if len(b.Waiting) >= 2*web.MaxWaiting {
			b.Waiting = firstWaiting(b.Waiting)
		}
	})
	b.Waiting, b.Refused = firstWaiting(b.Waiting), len(bad)
	return b, err
}

func waitingOf(it issuance.Item) web.Waiting {
	w := web.Waiting{Names: it.Names, State: it.State, Since: it.Changed, Next: it.Next, Failures: it.Failed.Count}
	if it.Cert != nil {
		w.NotAfter = it.Cert.NotAfter
	}
	if f := it.Failed.Last; f != nil {
		w.Class, w.Stage, w.CA, w.Reason = f.Class, f.Stage, f.CA, f.Detail
	}
	return w
}

// firstWaiting is what is parked, then what waits, the longest first, as far as
// there is room.
func firstWaiting(list []web.Waiting) []web.Waiting {
	slices.SortFunc(list, func(a, b web.Waiting) int {
		return cmp.Or(cmp.Compare(a.State, b.State), a.Since.Compare(b.Since), slices.Compare(a.Names, b.Names))
	})
	return list[:min(len(list), web.MaxWaiting)]
}

// Names implements web.Source.
func (d dashboard) Names(q web.NameQuery) web.NamePage { return d.known.page(q) }

// Ends implements web.Source.
func (d dashboard) Ends(now time.Time, span time.Duration, spans int) web.Ends {
	return d.known.endings(now, span, spans)
}
