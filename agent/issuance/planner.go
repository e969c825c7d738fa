package issuance

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Planner decides which item is worked on next. It holds every item, so that
// neither a decision nor a change costs more with more of them. It is not safe
// for concurrent use.
type Planner struct {
	Ledger *Ledger // of the CA that is asked first

	items  map[string]Item
	later  Schedule // items with a time
	now    []string // items that need no room: orders under way, renewals the CA asked for
	turns  turns
	busy   map[string]bool // handed out by Next, not yet Set again
	queued map[string]bool // in now or turns
}

// NewPlanner plans for no items.
func NewPlanner(l *Ledger) *Planner {
	return &Planner{Ledger: l, items: map[string]Item{}, busy: map[string]bool{}, queued: map[string]bool{}}
}

// Set takes a new item in, or what has become of one.
func (p *Planner) Set(it Item, now time.Time) {
	id := it.ID()
	p.items[id] = it
	delete(p.busy, id)
	if it.Due(now) {
		p.later.Remove(id)
		p.queue(it)
		return
	}
	p.later.Set(id, it.at(now))
}

// Delay is Set for an item that is left alone until a time, whatever its state.
func (p *Planner) Delay(it Item, until time.Time) {
	id := it.ID()
	p.items[id] = it
	delete(p.busy, id)
	p.later.Set(id, until)
}

// Remove forgets an item.
func (p *Planner) Remove(id string) {
	delete(p.items, id)
	delete(p.busy, id)
	p.later.Remove(id) // where it is queued it is passed over
}

// Item is an item by its ID.
func (p *Planner) Item(id string) (Item, bool) {
	it, ok := p.items[id]
	return it, ok
}

// Len is the number of items.
func (p *Planner) Len() int { return len(p.items) }

func (p *Planner) queue(it Item) {
	id := it.ID()
	if p.queued[id] {
		return
	}
	p.queued[id] = true
	if !it.Counted() {
		p.now = append(p.now, id)
		return
	}
	p.turns.push(it)
}

// Next is an item to be worked on now, with an order counted for it in the
// ledger if it needs one. It is not handed out again before Set. If there is
// none, wait is when to ask again; zero if nothing is ahead.
func (p *Planner) Next(now time.Time) (it Item, wait time.Time, ok bool) {
	for {
		id, due := p.later.Pop(now)
		if !due {
			break
		}
		p.queue(p.items[id])
	}
	for len(p.now) > 0 {
		id := p.now[0]
		p.now = p.now[1:]
		if it, ok := p.hand(id, now); ok {
			return it, time.Time{}, true
		}
	}
	if it, ok := p.turn(now); ok {
		return it, time.Time{}, true
	}
	if next, some := p.later.Next(); some {
		wait = next
	}
	if room := p.Ledger.AnyRoom(now); p.turns.len() > 0 && (wait.IsZero() || room.Before(wait)) {
		wait = room
	}
	return Item{}, wait, false
}

// turn is the item whose turn it is, if the ledger has room.
func (p *Planner) turn(now time.Time) (Item, bool) {
	for p.turns.len() > 0 && !p.Ledger.AnyRoom(now).After(now) {
		id, ok := p.turns.pop()
		if !ok {
			break
		}
		it, known := p.hand(id, now)
		if !known {
			continue
		}
		if room := p.Ledger.Room(it, now); room.After(now) {
			delete(p.busy, id)
			p.later.Set(id, room)
			continue
		}
		p.Ledger.Take(it, now)
		return it, true
	}
	return Item{}, false
}

// hand gives an item out, unless it was removed, put off or is worked on.
func (p *Planner) hand(id string, now time.Time) (Item, bool) {
	delete(p.queued, id)
	it, ok := p.items[id]
	if !ok || p.busy[id] || !it.Due(now) {
		return Item{}, false
	}
	p.busy[id] = true
	return it, true
}

// Forecast is when each item that waits for a first certificate would get it if
// every order succeeded and none took any time, by ID.
func (p *Planner) Forecast(now time.Time) map[string]time.Time {
	sim := NewPlanner(p.Ledger.Clone())
	for id, it := range p.items {
		switch {
		case it.Cert != nil || it.State == Parked:
		case p.busy[id]:
			// under way: its order is counted already
		default:
			sim.items[id] = it
		}
	}
	sim.fill(now)
	when := map[string]time.Time{}
	for t := now; len(sim.items) > 0; {
		it, wait, ok := sim.Next(t)
		switch {
		case ok:
			when[it.ID()] = t
			sim.Remove(it.ID())
		case wait.IsZero():
			return when
		default:
			t = wait
		}
	}
	return when
}

// fill queues every item, those added first before the others.
func (p *Planner) fill(now time.Time) {
	all := make([]Item, 0, len(p.items))
	for _, it := range p.items {
		all = append(all, it)
	}
	slices.SortFunc(all, func(a, b Item) int {
		return cmp.Or(a.Added.Compare(b.Added), strings.Compare(a.Names[0], b.Names[0]))
	})
	for _, it := range all {
		p.Set(it, now)
	}
}
