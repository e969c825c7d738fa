package issuance

import (
	"fmt"
	"time"
)

// Begin starts an attempt at a certificate: a first one, one after a failure,
// or a renewal. An item that waits with an order under way goes on with that.
func (it Item) Begin(now time.Time) (Item, error) {
	if !it.Due(now) {
		return it, it.wrong("begin")
	}
	switch {
	case it.State == Ordering || it.State == Preflight:
		return it, nil
	case it.State == Waiting && it.Order != nil:
		return it.enter(Ordering, now), nil
	default:
		return it.enter(Preflight, now), nil
	}
}

// Place journals an order before the CA hears of it. The preflight has passed.
func (it Item) Place(o Order, now time.Time) (Item, error) {
	if it.State != Preflight {
		return it, it.wrong("place order for")
	}
	o.Begun = whole(now)
	it = it.enter(Ordering, now)
	it.Order = &o
	return it, Validate(it)
}

// Placed journals where the order is.
func (it Item) Placed(url string, now time.Time) (Item, error) {
	if it.State != Ordering || it.Order == nil {
		return it, it.wrong("note order of")
	}
	o := *it.Order
	o.URL = url
	it = it.enter(Ordering, now)
	it.Order = &o
	return it, Validate(it)
}

// Finish ends an attempt with a certificate, to be renewed at a time; not before
// a third of what is left of it, because a clock that is ahead would have it
// renewed again and again.
func (it Item) Finish(c Cert, renew, now time.Time) (Item, error) {
	if it.State != Ordering {
		return it, it.wrong("finish")
	}
	it = it.enter(Issued, now)
	it.Order, it.Failed, it.Cert = nil, Failures{}, &c
	if soonest := now.Add(c.NotAfter.Sub(now) / 3); renew.Before(soonest) {
		renew = soonest
	}
	it.Next = whole(renew)
	return it, Validate(it)
}

// Renew sets a new time for the renewal, and what the CA suggested, if it did.
func (it Item) Renew(w *Window, at time.Time) (Item, error) {
	if it.State != Issued || it.Cert == nil {
		return it, it.wrong("plan renewal of")
	}
	c := *it.Cert
	c.Window = w
	it.Cert, it.Next = &c, whole(at)
	return it, Validate(it)
}

// Fail ends an attempt with a failure. u in [0, 1) chooses a place in the
// jitter. What the failure means is decided by its class: see Class.
func (it Item) Fail(f Failure, u float64, now time.Time) (Item, error) {
	if it.State != Preflight && it.State != Ordering && it.State != Parked {
		return it, it.wrong("fail")
	}
	f.At = whole(now)
	if f = it.Weigh(f.bounded()); f.Class == Cut {
		return it.resume(f, u, now)
	}
	parked := it.State == Parked
	if f.Over || f.Class != CADown && f.Class != RateLimited {
		it.Order = nil
	}
	f.Over = false // of this moment only
	if f.counts() {
		it.Failed.Count++
	}
	it.Failed.Last = &f
	next, state := now.Add(f.wait(it.Failed.Count, u)), Waiting
	if f.Class == Hopeless || parked || it.Failed.Count >= Hope {
		next, state = now.Add(jitter(parkedLook, u)), Parked
		it.Order = nil
		if !parked {
			it.Failed.Parked = f.reason()
		}
	}
	it = it.enter(state, now)
	it.Next = whole(next).Add(time.Second) // never before the wait is over
	return it, Validate(it)
}

// resume has an order go on in a moment. The failure is nobody's, and counts
// nothing.
func (it Item) resume(f Failure, u float64, now time.Time) (Item, error) {
	f.Over = false
	o := *it.Order
	wait := cutWaits[o.Cuts]
	o.Cuts++
	it = it.enter(Waiting, now)
	it.Order, it.Failed.Last = &o, &f
	it.Next = whole(now.Add(wait + time.Duration(u*float64(wait)/2))).Add(time.Second)
	return it, Validate(it)
}

// Reconsider is Retry for a parked item whose preflight passes again. Why it was
// parked is kept, so that the same is not told again.
func (it Item) Reconsider(now time.Time) (Item, error) {
	if it.State != Parked {
		return it, it.wrong("reconsider")
	}
	why := it.Failed.Parked
	it, err := it.Retry(now)
	it.Failed.Parked = why
	return it, err
}

// Retry forgets the failures of an item that waits or is parked, by an
// operator's will.
func (it Item) Retry(now time.Time) (Item, error) {
	if it.State != Waiting && it.State != Parked {
		return it, it.wrong("retry")
	}
	it.Failed = Failures{}
	if it.Order != nil {
		o := *it.Order
		o.Cuts = 0
		it.Order = &o
		return it.enter(Ordering, now), nil
	}
	it = it.enter(Wanted, now)
	return it, Validate(it)
}

// Exempt reports whether an order now would not count against the limits of
// the CA, because it renews in the window that the CA suggested (RFC 9773,
// section 5, and the published limits of Let's Encrypt).
func (it Item) Exempt() bool {
	return it.Cert != nil && it.Cert.Window != nil && it.Failed.Count == 0
}

// Counted reports whether an order now would count against the limits of the CA.
func (it Item) Counted() bool { return it.Order == nil && it.State != Parked && !it.Exempt() }

// String names the item in logs.
func (it Item) String() string {
	if len(it.Names) > 1 {
		return fmt.Sprintf("%s and %d more", it.Names[0], len(it.Names)-1)
	}
	return it.Names[0]
}
