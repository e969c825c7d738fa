package issuance

import (
	"testing"
	"time"
)

// TestACutOrderGoesOnInSeconds cuts the connection again and again: three times
// the same order goes on soon, then the CA counts as down, and nothing counts
// against the name.
func TestACutOrderGoesOnInSeconds(t *testing.T) {
	f := Failure{Class: Cut, Stage: StageFinalize, CA: "le"}
	it := ordering(t, "a.test")
	it.Failed = Failures{Count: 2, Last: &Failure{Class: Recoverable, Stage: StageOrder, At: t0}}
	now := t0
	for n, want := range []struct {
		class Class
		wait  time.Duration
	}{{Cut, time.Second}, {Cut, 5 * time.Second}, {Cut, 25 * time.Second}, {CADown, downWait}, {CADown, downWait}} {
		late := must(t)(it.Fail(f, 0.999, now))
		if wait := late.Next.Sub(now); wait < want.wait || wait > want.wait*3/2+time.Second {
			t.Errorf("cut %d waits %s with jitter, want %s and at most half more", n+1, wait, want.wait)
		}
		it = must(t)(it.Fail(f, 0, now))
		if wait := it.Next.Sub(now); wait < want.wait || wait > want.wait+time.Second {
			t.Errorf("cut %d waits %s, want %s", n+1, wait, want.wait)
		}
		if it.State != Waiting || it.Failed.Last.Class != want.class || it.Failed.Count != 2 || it.Order == nil {
			t.Fatalf("cut %d leaves %+v, want the order to wait, %s, and two failures as before", n+1, it, want.class)
		}
		now = it.Next
		if it = must(t)(it.Begin(now)); it.State != Ordering || it.Counted() {
			t.Errorf("Begin() after cut %d is %s, counted %v, want the same order to go on uncounted", n+1, it.State, it.Counted())
		}
	}
	again := must(t)(it.Fail(f, 0, now))
	again = must(t)(must(t)(again.Retry(now)).Fail(f, 0, now))
	if again.Failed.Last.Class != Cut {
		t.Errorf("a cut after Retry() is %s, want %s", again.Failed.Last.Class, Cut)
	}
	fresh := must(t)(must(t)(item(t, "a.test").Begin(t0)).Fail(f, 0, t0))
	if wait := fresh.Next.Sub(t0); fresh.Failed.Last.Class != CADown || wait < downWait {
		t.Errorf("a cut without an order is %s, next in %s, want %s", fresh.Failed.Last.Class, wait, CADown)
	}
	over := must(t)(ordering(t, "a.test").Fail(Failure{Class: Recoverable, Stage: StageOrder, CA: "le"}, 0, t0))
	over = must(t)(must(t)(over.Begin(over.Next)).Place(order(), over.Next))
	if over.Order.Cuts != 0 {
		t.Errorf("a new order begins with %d cuts", over.Order.Cuts)
	}
}
