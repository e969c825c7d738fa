package agent

import (
	"context"
	"errors"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/issuer"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// intake carries out what operators have asked for, and takes it off the queue.
// Doing a request twice, because its deletion was lost, does nothing more.
func (t *term) intake(ctx context.Context, queue []store.QueuedRequest) error {
	if again := rereads(queue); len(again) > 0 {
		// Before all others: what this term would write takes the place of what was put back.
		if err := t.store.DropRequests(ctx, again, t.session); err != nil {
			return err
		}
		return errReread
	}
	var done []string
	for _, q := range queue {
		if q.Err != nil {
			t.log.Error("request refused", "id", q.ID, "err", q.Err)
		} else if err := t.carryOut(ctx, q.Request); err != nil {
			return err
		}
		done = append(done, q.ID)
	}
	return t.store.DropRequests(ctx, done, t.session)
}

// rereads are the IDs of the requests to read everything again.
func rereads(queue []store.QueuedRequest) []string {
	var ids []string
	for _, q := range queue {
		if q.Err == nil && q.Request.Do == issuance.Reread {
			ids = append(ids, q.ID)
		}
	}
	return ids
}

// errReread means that account and journal are others than those that were read.
var errReread = errors.New("the fleet was put back from a copy")

func (t *term) carryOut(ctx context.Context, r issuance.Request) error {
	t.log.Info("request", "do", string(r.Do), "certificates", len(r.Wishes), "first", r.Wishes[0].Names[0], "by", r.By)
	switch r.Do {
	case issuance.Add:
		return t.add(ctx, r)
	case issuance.Retry:
		return t.again(ctx, r, issuance.Item.Retry)
	case issuance.Renew:
		return t.again(ctx, r, func(it issuance.Item, now time.Time) (issuance.Item, error) {
			if it.Cert == nil {
				return it, issuance.ErrState
			}
			return it.Renew(it.Cert.Window, now)
		})
	default:
		return t.remove(ctx, r)
	}
}

// add takes new items in. A name that belongs to another item stays there.
func (t *term) add(ctx context.Context, r issuance.Request) error {
	now := t.now()
	var items []issuance.Item
	for _, w := range r.Wishes {
		it, err := issuance.New(w.Names, w.Group, w.Profile, now)
		if err != nil {
			return err // a request was checked when it was read
		}
		if _, known := t.planner.Item(it.ID()); known {
			continue
		}
		if err := issuer.Answerable(t.rules.responder, it.Names); err != nil {
			t.log.Error("certificate cannot be obtained, not added", "err", err)
			continue
		}
		if name, other := t.conflict(it); other {
			t.log.Error("name belongs to another certificate, not added", "name", name, "names", it.String())
			continue
		}
		for _, name := range it.Names {
			t.names[name] = it.ID() // also for the wishes that follow
		}
		items = append(items, it)
	}
	if err := t.putItems(ctx, items); err != nil {
		return err
	}
	for _, it := range items {
		t.set(it, now)
	}
	return nil
}

func (t *term) conflict(it issuance.Item) (name string, other bool) {
	for _, name := range it.Names {
		if id, ok := t.names[name]; ok && id != it.ID() {
			return name, true
		}
	}
	return "", false
}

// again takes a step with items that begins their work anew; those of which the
// state does not allow it are left alone.
func (t *term) again(ctx context.Context, r issuance.Request, step func(issuance.Item, time.Time) (issuance.Item, error)) error {
	now := t.now()
	var items []issuance.Item
	for _, it := range t.named(r) {
		if t.ends[it.ID()] != nil {
			continue // it is tried now: twice at a time would be two orders
		}
		if next, err := step(it, now); err == nil {
			items = append(items, next)
		}
	}
	if err := t.putItems(ctx, items); err != nil {
		return err
	}
	for _, it := range items {
		t.set(it, now)
	}
	return nil
}

// remove ends the life of items; attempts at them are told, and end them once
// more.
func (t *term) remove(ctx context.Context, r issuance.Request) error {
	items := t.named(r)
	for _, it := range items {
		if e := t.ends[it.ID()]; e != nil {
			e.do = r.Do
			e.removed.Store(true)
		}
	}
	err := t.end(ctx, items, r.Do)
	if errors.Is(err, ErrPartial) && len(items) > 1 {
		// One that cannot be ended holds back no other.
		for _, it := range items {
			if err := t.remove(ctx, issuance.Request{Do: r.Do, Wishes: []issuance.Wish{{Names: it.Names}}}); err != nil {
				return err
			}
		}
		return nil
	}
	if errors.Is(err, ErrPartial) {
		t.log.Error("certificate not ended", "names", items[0].String(), "err", err)
		return nil // who asked sees that it is still there
	}
	if err != nil {
		return err
	}
	for _, it := range items {
		t.drop(it)
	}
	return nil
}

// end takes items out of the journal, and unless they are only to be forgotten
// their names out of the inventory, as far as these are served with what was
// obtained for them.
func (t *term) end(ctx context.Context, items []issuance.Item, do issuance.Verb) error {
	var ids, names []string
	for _, it := range items {
		ids = append(ids, it.ID())
		if do == issuance.Forget {
			continue
		}
		served, err := t.entries(ctx, it)
		if err != nil {
			return err
		}
		for _, e := range served {
			if e.Source == fleet.SourceACME {
				names = append(names, e.Name)
			}
		}
	}
	if len(names) > 0 {
		if _, err := t.store.EditInventory(ctx, store.Edit{Remove: names, Now: t.now()}, t.session, nil); err != nil {
			return err
		}
	}
	return t.dropItems(ctx, ids)
}

// named are the items that a request names, by any of their names.
func (t *term) named(r issuance.Request) []issuance.Item {
	seen := map[string]bool{}
	var items []issuance.Item
	for _, w := range r.Wishes {
		for _, name := range w.Names {
			id := t.names[name]
			if it, ok := t.planner.Item(id); ok && !seen[id] {
				seen[id] = true
				items = append(items, it)
			}
		}
	}
	return items
}
