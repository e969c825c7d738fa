package issuance

import (
	"testing"
	"time"
)

// TestAClockSetBackHoldsUpNothing has a leader whose clock was a year ahead write
// items, and one whose clock is right go on.
func TestAClockSetBackHoldsUpNothing(t *testing.T) {
	ahead := t0.AddDate(1, 0, 0)
	fail := func(class Class, now time.Time) Item {
		it := must(t)(item(t, "a.test").Begin(now))
		it = must(t)(it.Place(order(), now))
		return must(t)(it.Fail(Failure{Class: class, Stage: StageOrder, CA: "le"}, 0, now))
	}
	renewal := func(now time.Time) Item {
		w, ok := Suggest(t0.AddDate(0, 0, 55), t0.AddDate(0, 0, 60), nil, 0, 0.5, now)
		if !ok {
			t.Fatal("Suggest() refuses the window")
		}
		return must(t)(issued(t, 90, "a.test").Suggested(w, now))
	}
	usual := RenewAt(item(t, "a.test").ID(), t0, t0.AddDate(0, 0, 90))
	tests := map[string]struct {
		item Item
		due  time.Time
	}{
		"waiting":                    {fail(Recoverable, ahead), t0},
		"parked":                     {fail(Hopeless, ahead), t0},
		"renewal put off too far":    {renewal(ahead), usual},
		"waiting, clocks differ":     {fail(Recoverable, t0.Add(time.Minute)), t0.Add(2*time.Minute + time.Second)},
		"parked, right clock":        {fail(Hopeless, t0), t0.Add(parkedLook + time.Second)},
		"renewal in the CA's window": {renewal(t0), t0.AddDate(0, 0, 57).Add(12 * time.Hour)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if !tt.item.Due(tt.due) || tt.due.After(t0) && tt.item.Due(tt.due.Add(-2*time.Second)) {
				t.Errorf("Due() of %s since %s, next %s, is not from %s on", tt.item.State, tt.item.Changed, tt.item.Next, tt.due)
			}
			p := NewPlanner(NewLedger(LetsEncrypt, nil))
			p.Set(tt.item, t0)
			if _, wait, ok := p.Next(t0); !ok && !wait.Equal(tt.due) || ok && tt.due.After(t0) {
				t.Errorf("Next() = %v, again at %s, want %s", ok, wait, tt.due)
			}
		})
	}
}

// TestALedgerSurvivesAClockSetBack uses all of the limits and is held a year
// ahead, which must not keep anything back for a year.
func TestALedgerSurvivesAClockSetBack(t *testing.T) {
	ahead := t0.AddDate(1, 0, 0)
	l := NewLedger(LetsEncrypt, nil)
	it := item(t, "a.test")
	for range LetsEncrypt.Orders.Count {
		l.Take(it, ahead)
	}
	l.TakeFailure("a.test", ahead)
	l.Hold(time.Minute, ahead)
	used := l.Used(ahead)
	for what, kept := range map[string]map[string]time.Time{"as it was": used, "as of now": UsedNow(used, t0)} {
		l = NewLedger(LetsEncrypt, kept)
		wantRoom(t, l, it, what)
	}
	l = NewLedger(LetsEncrypt, nil)
	l.Take(it, ahead)
	if room := NewLedger(LetsEncrypt, UsedNow(l.Used(ahead), t0)).Room(it, t0); room.After(t0) {
		t.Errorf("Room() after one order of many = %s, want it now", room.Sub(t0))
	}
	same := NewLedger(LetsEncrypt, UsedNow(l.Used(t0), t0.Add(time.Minute))).Used(t0)
	if want := l.Used(t0)["orders"]; !same["orders"].Equal(want) {
		t.Errorf("with a right clock the bucket is full again at %s, want %s as before", same["orders"], want)
	}
}

// wantRoom fails the test if a ledger of which all is used has room too late.
func wantRoom(t *testing.T, l *Ledger, it Item, what string) {
	t.Helper()
	if room := l.AnyRoom(t0); room.After(t0.Add(time.Minute)) {
		t.Errorf("AnyRoom() %s = %s, want a minute at most", what, room.Sub(t0))
	}
	if room, most := l.Room(it, t0), LetsEncrypt.Set.step(); room.After(t0.Add(most)) {
		t.Errorf("Room() %s = %s, want %s at most", what, room.Sub(t0), most)
	}
	l.Take(it, t0)
	if full := l.Used(t0)["orders"]; full.After(t0.Add(LetsEncrypt.Orders.Per + LetsEncrypt.Orders.step())) {
		t.Errorf("an order leaves the bucket full again in %s only", full.Sub(t0))
	}
}

// TestAClockSetForwardLeavesNoItemBehind: what was planned before is due, and in
// turns that the CA's limits allow.
func TestAClockSetForwardLeavesNoItemBehind(t *testing.T) {
	const n = 1000
	p := NewPlanner(NewLedger(LetsEncrypt, nil))
	for i := range n {
		it := numbered(t, i)
		c := certificate(90)
		it = must(t)(must(t)(must(t)(it.Begin(t0)).Place(order(), t0)).Finish(c, RenewAt(it.ID(), c.NotBefore, c.NotAfter), t0))
		p.Set(it, t0)
	}
	now, count := t0.AddDate(1, 0, 0), 0
	for {
		if _, _, ok := p.Next(now); !ok {
			break
		}
		count++
	}
	if count != LetsEncrypt.Orders.Count {
		t.Errorf("Next() hands out %d at once, want %d as the CA takes", count, LetsEncrypt.Orders.Count)
	}
}

// TestAClockAheadRenewsNothingTwice: a new certificate is due for renewal by such
// a clock.
func TestAClockAheadRenewsNothingTwice(t *testing.T) {
	now := t0.AddDate(0, 0, 80)
	c := certificate(90)
	it := must(t)(ordering(t, "a.test").Finish(c, RenewAt("00", c.NotBefore, c.NotAfter), now))
	if want := now.AddDate(0, 0, 3); it.Due(want) || !it.Due(want.AddDate(0, 0, 1)) {
		t.Errorf("Finish() is due again at %s, want a third of the ten days that are left later", it.Next)
	}
}

// TestAWindowThatIsOverPutsNothingOff has a CA that repeats such a window each
// minute.
func TestAWindowThatIsOverPutsNothingOff(t *testing.T) {
	for n := range 20 {
		it := numbered(t, n)
		c := certificate(45)
		it = must(t)(must(t)(must(t)(it.Begin(t0)).Place(order(), t0)).Finish(c, RenewAt(it.ID(), c.NotBefore, c.NotAfter), t0))
		now := t0.AddDate(0, 0, 5)
		last := now.Add(stormSpread)
		for !it.Due(now) {
			if now.After(last) {
				t.Fatalf("item %d is not due an hour after the CA has wished its renewal, but at %s", n, it.Next)
			}
			w, ok := Suggest(t0, t0.AddDate(0, 0, 1), it.Cert.Window, time.Second, 0.5, now)
			if !ok {
				t.Fatal("Suggest() refuses a window that is over")
			}
			it = must(t)(it.Suggested(w, now))
			now = w.Check
		}
	}
}
