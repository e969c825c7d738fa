package agent

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/issuer"
)

// When a CA is asked for a renewal window: first soon after a certificate was
// obtained or this node began to lead, again after a failure, and after an answer
// as the CA says.
const (
	windowSoon  = 10 * time.Second
	windowRetry = time.Minute
	windowLate  = 6 * time.Hour // the longest wait after failures in a row
	lookers     = 8             // asked at a time
)

// checkAt is when to ask for an item's renewal window.
func (t *term) checkAt(it issuance.Item, now time.Time) time.Time {
	// A time further off was written by a clock that has been set back since.
	if w := it.Cert.Window; w != nil && !w.Check.After(now.Add(issuance.MostPoll)) {
		return w.Check
	}
	return now.Add(t.rules.soon + time.Duration(rand.Float64()*float64(t.rules.soon))) //nolint:gosec // spreads requests
}

// look asks for the renewal windows that are due, and says when the next one is.
func (t *term) look(ctx context.Context, now time.Time) time.Time {
	for t.looking < lookers {
		id, ok := t.checks.Pop(now)
		if !ok {
			break
		}
		it, known := t.planner.Item(id)
		if !known || it.State != issuance.Issued {
			continue
		}
		t.looking++
		t.aside.Go(func() {
			o := t.window(ctx, it)
			select {
			case t.checked <- o:
			case <-ctx.Done():
			}
		})
	}
	next, ok := t.checks.Next()
	if !ok || t.looking == lookers {
		return now.Add(idle)
	}
	return next
}

// window asks the CA of a certificate when to renew it. The answer is not written
// here, because an attempt at the item may begin meanwhile.
func (t *term) window(ctx context.Context, it issuance.Item) outcome {
	o := outcome{item: it, before: it}
	client, err := t.clients.of(ctx, it.Cert.CA)
	if err != nil {
		o.err = err
		return o
	}
	info, err := client.RenewalInfo(ctx, it.Cert.ID)
	if err != nil {
		o.err = err
		return o
	}
	now := t.now()
	u := rand.Float64() //nolint:gosec // chooses a time in a public window
	w, ok := issuance.Suggest(info.Start, info.End, it.Cert.Window, info.RetryAfter, u, now)
	if !ok {
		o.err = errWindow
		return o
	}
	o.item, o.err = it.Suggested(w, now)
	return o
}

// errWindow is a window that ends before it begins.
var errWindow = errors.New("the CA's renewal window is none")

// looked journals what a CA said about a renewal, and plans with it.
func (t *term) looked(ctx context.Context, o outcome) error {
	t.looking--
	id := o.before.ID()
	now := t.now()
	it, known := t.planner.Item(id)
	switch {
	case !known || t.ends[id] != nil || it.State != issuance.Issued || it.Cert.Bundle != o.before.Cert.Bundle:
		// It was removed, is being renewed, or was.
	case errors.Is(o.err, issuer.ErrNoRenewalInfo):
	case o.err != nil:
		t.silent[id]++
		wait := min(windowRetry<<min(t.silent[id]-1, 10), windowLate)
		t.log.Debug("no renewal window", "names", it.String(), "next", wait, "err", o.err)
		t.checks.Set(id, now.Add(wait))
	default:
		if err := t.putItems(ctx, []issuance.Item{o.item}); err != nil {
			return err
		}
		delete(t.silent, id)
		t.set(o.item, now)
	}
	return nil
}
