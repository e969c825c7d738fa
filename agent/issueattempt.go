package agent

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/issuer"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// outcome is what became of an item.
type outcome struct {
	item    issuance.Item
	before  issuance.Item // as it was handed out
	began   time.Time     // of the attempt
	failure *issuance.Failure
	gone    bool  // the item is not for this fleet to renew any more
	err     error // the journal could not be written: as if nothing had happened
	end     *ending
}

// label is what became of it in one word; empty for what was no attempt.
func (o outcome) label() string {
	switch {
	case o.failure != nil:
		return string(o.failure.Class)
	case o.item.State != issuance.Issued:
		return ""
	case o.before.Cert != nil:
		return "renewed"
	}
	return "issued"
}

// ending tells an attempt that its item was removed meanwhile.
type ending struct {
	removed atomic.Bool
	do      issuance.Verb // of the loop alone
}

// errRemoved ends the attempt at an item that is not to be obtained any more.
var errRemoved = errors.New("it was removed meanwhile")

// attempt works on one item until it is done, has failed or waits.
func (t *term) attempt(ctx context.Context, it issuance.Item, end *ending) outcome {
	o := outcome{item: it, before: it, began: time.Now(), end: end}
	if it.State == issuance.Parked {
		return t.reconsider(ctx, o)
	}
	fresh := it.State != issuance.Ordering && it.Order == nil
	again := it.Order != nil && it.Order.URL == ""
	var err error
	if o.item, err = it.Begin(t.now()); err != nil {
		o.err = err
		return o
	}
	if fresh {
		if o = t.prepare(ctx, o); o.gone || o.failure != nil || o.err != nil {
			return o
		}
	}
	return t.obtain(ctx, o, again)
}

// reconsider looks whether a parked item's names lead here again.
func (t *term) reconsider(ctx context.Context, o outcome) outcome {
	if err := t.preflight(ctx, o.item); err != nil {
		return t.unproved(ctx, o, err)
	}
	if o = t.rehearse(ctx, o, t.rules.cas[0]); o.failure != nil || o.err != nil {
		return o
	}
	t.log.Info("parked names lead here again", "names", o.item.String())
	return t.put(ctx, o, func(now time.Time) (issuance.Item, error) { return o.item.Reconsider(now) })
}

// prepare brings an item to where the CA may be asked: its names lead here, and
// key and CSR are journaled.
func (t *term) prepare(ctx context.Context, o outcome) outcome {
	if o.item.Cert != nil {
		gone, err := t.taken(ctx, o.item)
		if err != nil {
			o.err = err
			return o
		}
		if gone {
			o.gone = true
			return o
		}
	}
	if err := t.preflight(ctx, o.item); err != nil {
		return t.unproved(ctx, o, err)
	}
	ca := t.choose(o.item)
	if o = t.rehearse(ctx, o, ca); o.failure != nil || o.err != nil {
		return o
	}
	order, err := issuer.NewOrder(o.item, ca.Name)
	if err != nil {
		o.err = err
		return o
	}
	if c := o.item.Cert; c != nil && c.CA == ca.Name && o.item.Failed.Count == 0 {
		order.Replaces = c.ID
	}
	return t.put(ctx, o, func(now time.Time) (issuance.Item, error) { return o.item.Place(order, now) })
}

// taken reports whether an operator has given a name of the item another
// certificate: what is imported is never renewed.
func (t *term) taken(ctx context.Context, it issuance.Item) (bool, error) {
	entries, err := t.entries(ctx, it)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		if e.Source == fleet.SourceImport {
			t.log.Info("name has an imported certificate, not renewing", "name", e.Name)
			return true, nil
		}
	}
	return false, nil
}

// entries is how the names of an item are served; names that are not are left
// out.
func (t *term) entries(ctx context.Context, it issuance.Item) ([]fleet.Entry, error) {
	found, bad, err := (&Console{store: t.store}).lookup(ctx, it.Names)
	if err = errors.Join(err, partial(bad)); err != nil {
		return nil, err
	}
	var served []fleet.Entry
	for _, name := range it.Names {
		if e, ok := found[name]; ok && !e.Removed {
			served = append(served, e)
		}
	}
	return served, nil
}

// preflight shows that the names of an item lead to this fleet, or that their
// records in DNS can be set.
func (t *term) preflight(ctx context.Context, it issuance.Item) error {
	if t.rules.preflight == nil {
		return nil
	}
	var nodes []string
	if t.rules.nodes {
		all, err := t.store.Nodes(ctx)
		if err != nil {
			return err
		}
		for _, n := range all {
			if n.InService() {
				nodes = append(nodes, n.Address)
			}
		}
	}
	if err := issuer.ProveNames(ctx, t.rules.responder, it.Names); err != nil {
		return err
	}
	for _, name := range issuer.ByHTTP(t.rules.responder, it.Names) {
		p := *t.rules.preflight
		p.Thumbprint = t.clients.thumbprint
		if public, ok := t.responder.(issuer.Publisher); ok {
			p.Publish = public.Publish
		}
		if err := p.Check(ctx, name, nodes); err != nil {
			return err
		}
	}
	return nil
}

// unproved ends an attempt at its preflight.
func (t *term) unproved(ctx context.Context, o outcome, err error) outcome {
	if !errors.Is(err, issuer.ErrPreflight) {
		o.err = err
		return o
	}
	return t.fail(ctx, o, "", err)
}

// choose is the CA to ask: the first, or the one after that which was down.
func (t *term) choose(it issuance.Item) issuer.CA {
	if f := it.Failed.Last; f != nil && f.Class == issuance.CADown {
		for n, ca := range t.rules.cas {
			if ca.Name == f.CA {
				return t.rules.cas[(n+1)%len(t.rules.cas)]
			}
		}
	}
	return t.rules.cas[0]
}

// obtain drives the order of an item to its end.
func (t *term) obtain(ctx context.Context, o outcome, again bool) outcome {
	name := o.item.Order.CA
	placed := func(url string) error {
		o = t.put(ctx, o, func(now time.Time) (issuance.Item, error) { return o.item.Placed(url, now) })
		return o.err
	}
	b, client, err := t.ask(ctx, o.item, again, placed)
	if issuer.AccountGone(err) && o.err == nil {
		if o.err = t.clients.forget(ctx, name, client); o.err == nil {
			b, _, err = t.ask(ctx, o.item, again, placed)
		}
	}
	if errors.Is(err, errConsul) {
		o.err = err
	}
	if o.err != nil {
		return o
	}
	if errors.Is(err, issuer.ErrPublish) {
		o.err = err
		return o
	}
	if err != nil {
		return t.fail(ctx, o, name, err)
	}
	if o.end.removed.Load() {
		o.err = errRemoved
		return o
	}
	if o.item, err = t.writer.serve(ctx, o.item, b, o.began); err != nil {
		o.err = err
	}
	return o
}

// ask has the CA of an item's order work it to its end.
func (t *term) ask(ctx context.Context, it issuance.Item, again bool, placed func(string) error) (bundle.Bundle, *issuer.Client, error) {
	client, err := t.clients.of(ctx, it.Order.CA)
	if err != nil {
		return bundle.Bundle{}, nil, err
	}
	b, err := client.Obtain(ctx, it, again, t.responder, placed)
	return b, client, err
}

// fail journals a failure; what the end of the term has cut off is none.
func (t *term) fail(ctx context.Context, o outcome, ca string, err error) outcome {
	f, ok := issuer.FailureOf(ctx, ca, err)
	if !ok {
		o.err = err
		return o
	}
	if f = o.item.Weigh(f); f.Class == issuance.CADown && len(t.rules.cas) > 1 || errors.Is(err, errUnknownCA) {
		f.Over = true // another CA is asked next
	}
	u := rand.Float64() //nolint:gosec // spreads retries
	o = t.put(ctx, o, func(now time.Time) (issuance.Item, error) { return o.item.Fail(f, u, now) })
	o.failure = &f
	t.log.Warn("certificate not obtained", "names", o.item.String(), "stage", string(f.Stage), "class", string(f.Class),
		"state", string(o.item.State), "next", o.item.Next, "ca", ca, "err", err)
	return o
}

// put takes a step and journals it.
func (t *term) put(ctx context.Context, o outcome, step func(now time.Time) (issuance.Item, error)) outcome {
	it, err := step(t.now())
	if err == nil && o.end.removed.Load() {
		err = errRemoved
	}
	if err == nil {
		err = t.putItems(ctx, []issuance.Item{it})
	}
	if err != nil {
		o.err = err
		return o
	}
	o.item = it
	return o
}

// took plans for what became of an item.
func (t *term) took(ctx context.Context, o outcome) error {
	id := o.before.ID()
	if t.ends[id] == o.end {
		delete(t.ends, id)
	}
	_, known := t.planner.Item(id)
	switch {
	case o.end.removed.Load() && !known:
		// What it wrote while it was being removed goes too.
		return t.end(ctx, []issuance.Item{o.before}, o.end.do)
	case o.end.removed.Load() || !known:
		return nil
	}
	if o.err == nil {
		t.notices.attempted(o)
		t.attempted(o.label())
	}
	now := t.now()
	ledger := t.planner.Ledger
	if o.before.Counted() && o.item.Order == nil && o.item.State != issuance.Issued && (o.failure == nil || o.failure.Stage == issuance.StagePreflight || t.rules.staged(o.failure)) {
		ledger.Return(o.before)
	}
	if f := o.failure; f != nil {
		switch {
		case t.rules.staged(f):
			t.stagingFailed(o.item, *f)
		case f.CA != t.rules.cas[0].Name:
			// The ledger is the first CA's.
		case f.Class == issuance.RateLimited, f.Class == issuance.CADown:
			ledger.Hold(time.Minute, now)
		case f.Stage == issuance.StageValidate:
			for _, name := range o.item.Names {
				ledger.TakeFailure(name, now)
			}
		}
	}
	switch {
	case o.gone:
		t.drop(o.before)
	case errors.Is(o.err, store.ErrFenced):
	case o.err != nil:
		t.log.Warn("attempt broke off", "names", o.before.String(), "next", t.rules.retry, "err", o.err)
		t.planner.Delay(o.item, now.Add(t.rules.retry))
	default:
		t.set(o.item, now)
	}
	return nil
}
