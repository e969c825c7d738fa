package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/handlers"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// here is what this node has on disk.
type here struct {
	head   inventory.Head
	shards map[int]inventory.Shard
	live   map[string]fleet.Hash
	view   view // the active release
	ledger *ledger
}

// look reads the node's own state and nginx's configuration.
func (p *planner) look(ctx context.Context) error {
	var err error
	if p.node, err = renderer.NewViewer(rendererConfig(p.cfg, Options{Log: p.log})); err != nil {
		return err
	}
	if p.here.view.active, err = p.node.Active(); err != nil {
		return err
	}
	if p.here.view.high, err = p.node.HighWater(); err != nil {
		return err
	}
	if sealed := p.here.view.active.Sealed; len(sealed) > 0 {
		if ring, err := p.store.OpenRing(sealed); err == nil {
			p.here.view.ring = &ring
		}
	}
	if p.here.ledger, err = openLedger(p.cfg.StateDir); errors.Is(err, fs.ErrPermission) {
		return err
	} else if err != nil {
		p.problem("ledger-unread", fleet.Warning, err.Error())
	}
	if p.here.live, err = p.node.Live(); errors.Is(err, fs.ErrPermission) || p.here.live == nil {
		return err
	} else if err != nil {
		p.problem("live-foreign", fleet.Warning, err.Error())
	}
	if err := p.copies(); err != nil {
		return err
	}
	p.inspect(ctx)
	return nil
}

// copies reads the node's copies of the inventory. One that cannot be opened
// counts as not there: the agent fetches it again.
func (p *planner) copies() error {
	copies, err := p.node.Inventory()
	if err != nil {
		return err
	}
	p.here.shards = map[int]inventory.Shard{}
	if head, err := p.store.OpenHead(copies[headCopy]); err == nil {
		p.here.head.Epoch, p.here.head.Names = head.Epoch, head.Names
	}
	for n := range inventory.Shards {
		sealed, ok := copies[shardCopy(n)]
		if !ok {
			continue
		}
		if s, err := p.store.OpenShard(n, sealed); err == nil {
			p.here.shards[n], p.here.head.Shards[n] = s, s.Epoch
		}
	}
	p.out.Followed = p.here.head.Epoch
	return nil
}

// inspect finds out what nginx holds in memory, as its configuration says.
func (p *planner) inspect(ctx context.Context) {
	running, err := p.node.Running(ctx)
	switch {
	case err != nil:
		p.out.Nginx = err.Error()
	case running:
		p.out.Nginx = "running"
	default:
		p.out.Nginx = "not running"
	}
	ins, err := p.node.Inspect(ctx)
	if err != nil {
		p.blind = fmt.Errorf("%w: %w", ErrBlind, err)
	}
	for _, x := range ins.Problems {
		p.out.Problems = append(p.out.Problems, x)
		if x.Code == renderer.CodeConfigUnparsed {
			p.blind = fmt.Errorf("%w: %s", ErrBlind, x.Message)
		}
	}
	p.nginx, p.held, p.here.view.nginx = ins, ins.HeldNames, ins.NginxVersion
}

func (p *planner) problem(code string, severity fleet.Severity, message string) {
	p.out.Problems = append(p.out.Problems, fleet.Problem{Code: code, Severity: severity, Message: message})
}

// inventory compares the inventory in Consul with what is here. missed says
// that shards could not be read.
func (p *planner) inventory(ctx context.Context) (changes []handlers.NameChange, missed, err error) {
	rec, err := p.store.Head(ctx)
	if errors.Is(err, store.ErrMissing) {
		if p.here.head.Epoch > 0 {
			p.problem("inventory-missing", fleet.Alarm, fmt.Sprintf("Consul has no inventory although epoch %d was followed: every certificate stays", p.here.head.Epoch))
		}
		rec.Head = p.here.head
	} else if err != nil {
		return nil, nil, err
	}
	p.out.Wanted = rec.Head.Epoch
	numbers, err := handlers.PlanHead(p.here.head, rec.Head, float64(p.cfg.Certificates.MaxLossPercent)/100)
	if err != nil {
		p.out.Problems = append(p.out.Problems, refusedInventory(err))
	}
	records, bad, err := p.store.Shards(ctx, numbers)
	if err != nil {
		return nil, nil, err
	}
	after := map[int]inventory.Shard{}
	for _, r := range records {
		if n := r.Shard.Number; r.Shard.Epoch < rec.Head.Shards[n] {
			bad[n] = fmt.Errorf("shard %d: %w: it is at epoch %d, the head says %d", n, store.ErrRecord, r.Shard.Epoch, rec.Head.Shards[n])
		} else {
			after[n] = r.Shard
		}
	}
	return p.compare(after), partial(bad), nil
}

// compare lists what has to change for these versions of shards.
func (p *planner) compare(after map[int]inventory.Shard) []handlers.NameChange {
	var changes []handlers.NameChange
	var lost []string
	for n := range inventory.Shards {
		before := p.here.shards[n]
		want, moved := after[n]
		if !moved {
			want = before
		}
		more, gone := handlers.CompareShard(p.base(), p.here.live, before, want)
		changes, lost = append(changes, more...), append(lost, gone...)
	}
	changes = p.quarantine(changes)
	if len(lost) > 0 {
		slices.Sort(lost)
		p.problem("names-lost", fleet.Alarm, fmt.Sprintf("%d names vanished from the inventory without being removed, and stay: %s",
			len(lost), strings.Join(lost[:min(len(lost), planShown)], " ")))
	}
	return changes
}

// quarantine leaves out what this node does not serve whatever the inventory
// says, and tells of it.
func (p *planner) quarantine(changes []handlers.NameChange) []handlers.NameChange {
	changes = slices.DeleteFunc(changes, func(c handlers.NameChange) bool {
		e := p.here.ledger.aim(c.Wanted)
		if e == c.Wanted {
			return false
		}
		return e.Removed && c.Served.IsZero() || !e.Removed && c.Served == e.Bundle
	})
	for i, c := range changes {
		changes[i].Wanted = p.here.ledger.aim(c.Wanted)
	}
	if len(p.here.ledger.Quarantine) > 0 {
		p.out.Problems = append(p.out.Problems, p.here.ledger.problem())
	}
	return changes
}

// ring compares the ring in Consul with the active one.
func (p *planner) ring(ctx context.Context) error {
	rec, err := p.store.Ring(ctx)
	switch {
	case errors.Is(err, store.ErrMissing), errors.Is(err, store.ErrRecord):
		p.problem("ring-unreadable", fleet.Alarm, err.Error())
		return nil
	case err != nil:
		return err
	}
	state := p.here.view.state()
	plan, err := handlers.PlanRing(state, rec.Ring)
	if err != nil {
		p.problem("ring-refused", fleet.Alarm, err.Error())
		return nil
	}
	p.out.Problems = append(p.out.Problems, missed(plan)...)
	if plan.Reload {
		from := string(state.Mode)
		if state.Mode == fleet.ModeRing {
			from = fmt.Sprintf("epoch %d", state.Epoch)
		}
		p.reload(PlanRing, from, fmt.Sprintf("epoch %d", rec.Ring.Epoch), plan.Reason)
	}
	return nil
}
