package agent

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/doctor"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

// errClosed is why records cannot be read.
var errClosed = errors.New("without the keyring no record can be opened")

// certificates looks at what this node has of the inventory; Consul is not asked.
func (x *examiner) certificates() []doctor.Finding {
	entries, err := x.entries()
	book, bookErr := openLedger(x.cfg.StateDir)
	var barred []string
	if bookErr == nil {
		barred = slices.Sorted(maps.Keys(book.Quarantine))
	}
	return []doctor.Finding{doctor.Expiry(entries, err, x.now), doctor.Quarantine(barred, bookErr), x.ring().Judge(x.now)}
}

// entries are those of this node's copies of the inventory.
func (x *examiner) entries() ([]fleet.Entry, error) {
	if x.closed {
		return nil, errClosed
	}
	copies, err := x.node.Inventory()
	if err != nil {
		return nil, err
	}
	var all []fleet.Entry
	for n := range inventory.Shards {
		if sealed, ok := copies[shardCopy(n)]; ok {
			if s, err := x.store.OpenShard(n, sealed); err == nil {
				all = append(all, s.Entries...)
			}
		}
	}
	return all, nil
}

// ring is the one of the active release.
func (x *examiner) ring() doctor.Ring {
	r := doctor.Ring{Every: x.cfg.Ticket.RotateEvery, Grace: x.cfg.Ticket.Deadline}
	active, err := x.node.Active()
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	r.Mode, r.Err, r.Epoch = active.Mode, err, active.Epoch
	if err == nil && !x.closed && len(active.Sealed) > 0 {
		if ring, err := x.store.OpenRing(active.Sealed); err == nil {
			r.Changed = ring.Changed
		}
	}
	return r
}

// fleet looks at the other nodes, and at what no certificate is obtained for.
func (x *examiner) fleet(ctx context.Context) []doctor.Finding {
	console := &Console{cfg: x.cfg, store: x.store}
	var blind error
	switch {
	case x.reach != nil:
		blind = errAway
	case x.closed:
		blind = errClosed
	}
	if blind != nil {
		return append(doctor.Members(nil, "", blind, x.now), doctor.Keys{Err: blind}.Judge(), doctor.Parked(nil, blind))
	}
	s, err := console.Status(ctx)
	var members []doctor.Member
	keys := doctor.Keys{Here: x.keys, Err: err}
	for _, n := range s.Nodes {
		m := doctor.Member{Name: n.Node, Proved: n.Proved || n.Drained}
		if n.Report != nil {
			m.Reported = n.Report.At
			keys.Nodes = append(keys.Nodes, doctor.NodeKeys{Name: n.Node, Keys: n.Report.Keys})
		}
		members = append(members, m)
	}
	list := append(doctor.Members(members, s.RingErr, err, time.Now()), keys.Judge())
	parked, _, err := console.Domains(ctx, DomainFilter{State: issuance.Parked}, false)
	var names []string
	for _, d := range parked {
		names = append(names, strings.Join(d.Names, " "))
	}
	return append(list, doctor.Parked(names, err))
}
