package issuance

import (
	"fmt"
	"testing"
	"time"
)

// drain works on everything that may be worked on until a time, and says how
// often each item came. done makes of an item what becomes of it.
func drain(p *Planner, from, until time.Time, done func(Item, time.Time) Item) map[string][]time.Time {
	came := map[string][]time.Time{}
	for now := from; !now.After(until); {
		it, wait, ok := p.Next(now)
		switch {
		case ok:
			came[it.ID()] = append(came[it.ID()], now)
			p.Set(done(it, now), now)
		case wait.IsZero():
			return came
		default:
			now = wait
		}
	}
	return came
}

// success is an order that takes no time.
func success(tb testing.TB, days int) func(Item, time.Time) Item {
	return func(it Item, now time.Time) Item {
		tb.Helper()
		it = must(tb)(it.Begin(now))
		it = must(tb)(it.Place(order(), now))
		c := Cert{CA: "le", NotBefore: now, NotAfter: now.AddDate(0, 0, days)}
		return must(tb)(it.Finish(c, RenewAt(it.ID(), c.NotBefore, c.NotAfter), now))
	}
}

func TestTenThousandFirstIssuances(t *testing.T) {
	p := NewPlanner(NewLedger(LetsEncrypt, nil))
	const n = 10000
	for i := range n {
		p.Set(numbered(t, i), t0)
	}
	forecast := p.Forecast(t0)
	came := drain(p, t0, t0.AddDate(0, 0, 20), success(t, 90))
	if len(came) != n {
		t.Fatalf("%d items came, want %d", len(came), n)
	}
	last := t0
	for id, times := range came {
		if len(times) != 1 {
			t.Fatalf("an item came %d times", len(times))
		}
		last = latest(last, times[0])
		if !forecast[id].Equal(times[0]) {
			t.Fatalf("Forecast() = %s for an item that came at %s", forecast[id], times[0])
		}
	}
	const ideal = 97 * time.Hour
	if took := last.Sub(t0); took > ideal*101/100 || took < ideal*99/100 {
		t.Errorf("10,000 first issuances take %s, want %s within 1 %%", took, ideal)
	}
}

func TestAGroupDoesNotStarveAnother(t *testing.T) {
	p := NewPlanner(NewLedger(Limits{Orders: Limit{1, time.Minute}}, nil))
	for i := range 1000 {
		it, err := New([]string{fmt.Sprintf("www.d%d.com", i)}, "large", "", t0)
		if err != nil {
			t.Fatal(err)
		}
		p.Set(it, t0)
	}
	small, err := New([]string{"www.small.com"}, "small", "", t0)
	if err != nil {
		t.Fatal(err)
	}
	p.Set(small, t0)
	came := drain(p, t0, t0.Add(10*time.Minute), success(t, 90))
	if times := came[small.ID()]; len(times) != 1 || times[0].After(t0.Add(2*time.Minute)) {
		t.Errorf("the small group's item came at %v, want within two turns", times)
	}
}

func TestRenewalsDoNotStarveNewNames(t *testing.T) {
	p := NewPlanner(NewLedger(Limits{Orders: Limit{1, time.Minute}}, nil))
	now := t0.AddDate(0, 0, 89)
	for i := range 1000 {
		p.Set(issued(t, 90, fmt.Sprintf("www.d%d.com", i)), now)
	}
	for i := range 10 {
		p.Set(item(t, fmt.Sprintf("www.new%d.com", i)), now)
	}
	soon := issued(t, 89, "www.soon.com")
	p.Set(soon, now)
	came := drain(p, now, now.Add(30*time.Minute), success(t, 90))
	fresh := 0
	for i := range 10 {
		fresh += len(came[item(t, fmt.Sprintf("www.new%d.com", i)).ID()])
	}
	if fresh != 10 || len(came) < 25 {
		t.Errorf("%d of 10 new names and %d in all came in 30 turns, want all of them and as many renewals", fresh, len(came))
	}
	if times := came[soon.ID()]; len(times) == 0 || times[0].After(now.Add(2*time.Minute)) {
		t.Errorf("the certificate that ends first came at %v, want first", times)
	}
}

func TestExemptRenewalsNeedNoRoom(t *testing.T) {
	ledger := NewLedger(Limits{Orders: Limit{1, time.Hour}}, nil)
	ledger.Take(item(t, "www.other.com"), t0)
	p := NewPlanner(ledger)
	done := issued(t, 90, "www.a.com")
	w, _ := Suggest(t0, t0.AddDate(0, 0, 1), nil, 0, 0, t0)
	p.Set(must(t)(done.Renew(&w, t0)), t0)
	p.Set(item(t, "www.b.com"), t0)
	if it, _, ok := p.Next(t0); !ok || it.Names[0] != "www.a.com" {
		t.Errorf("Next() = %v, %v, want the renewal that the CA asked for", it.Names, ok)
	}
	if it, wait, ok := p.Next(t0); ok || !wait.Equal(t0.Add(time.Hour)) {
		t.Errorf("Next() = %v, %s, %v, want nothing for an hour", it.Names, wait.Sub(t0), ok)
	}
}

func TestDelayedItemsWait(t *testing.T) {
	p := NewPlanner(NewLedger(Limits{}, nil))
	p.Set(item(t, "a.test"), t0)
	it, _, ok := p.Next(t0)
	if !ok {
		t.Fatal("Next() has nothing")
	}
	p.Delay(it, t0.Add(time.Minute))
	if _, wait, ok := p.Next(t0); ok || !wait.Equal(t0.Add(time.Minute)) {
		t.Errorf("Next() after Delay() = %v, wait %s, want nothing for a minute", ok, wait.Sub(t0))
	}
	if _, _, ok := p.Next(t0.Add(time.Minute)); !ok {
		t.Error("Next() a minute later has nothing")
	}
}

func TestAnItemPutOffInTheQueueWaits(t *testing.T) {
	ledger := NewLedger(Limits{Orders: Limit{1, time.Hour}}, nil)
	ledger.Take(item(t, "www.other.com"), t0)
	p := NewPlanner(ledger)
	now := t0.AddDate(0, 0, 80)
	done := issued(t, 90, "www.a.com")
	p.Set(done, now) // due
	later := must(t)(done.Renew(nil, now.AddDate(0, 0, 1)))
	p.Set(later, now)
	if it, wait, ok := p.Next(now); ok || !wait.Equal(now.AddDate(0, 0, 1)) {
		t.Errorf("Next() = %v, wait %s, %v, want nothing for a day", it.Names, wait.Sub(now), ok)
	}
	if _, _, ok := p.Next(now.AddDate(0, 0, 1)); !ok {
		t.Error("Next() a day later has nothing")
	}
}

func TestNextHandsOutAnItemOnce(t *testing.T) {
	p := NewPlanner(NewLedger(Limits{}, nil))
	it := item(t, "a.test")
	p.Set(it, t0)
	if _, _, ok := p.Next(t0); !ok {
		t.Fatal("Next() has nothing")
	}
	if again, _, ok := p.Next(t0); ok {
		t.Errorf("Next() hands out %s again before it is set", again)
	}
	on := must(t)(ordering(t, "a.test").Placed("https://ca.test/1", t0))
	p.Set(on, t0)
	p.Set(on, t0) // twice: still once
	if got, _, ok := p.Next(t0); !ok || got.Order == nil {
		t.Error("Next() does not go on with an order under way")
	}
	if _, _, ok := p.Next(t0); ok {
		t.Error("Next() hands it out twice")
	}
	p.Set(on, t0)
	p.Remove(on.ID())
	if _, _, ok := p.Next(t0); ok || p.Len() != 0 {
		t.Error("Next() hands out an item that was removed")
	}
}

// TestSteadyState is 20,000 names with certificates of 45 days, one in twenty of
// them hopeless, for thirty days in which renewals by schedule go through the
// window that the CA suggests. make bench-planner has 100,000, and a CA that counts.
func TestSteadyState(t *testing.T) {
	const n, days = 20000, 45
	p := NewPlanner(NewLedger(LetsEncrypt, nil))
	for i := range n {
		it := numbered(t, i)
		if i%20 == 0 {
			it = must(t)(it.Begin(t0))
			p.Set(must(t)(it.Fail(Failure{Class: Hopeless, Stage: StagePreflight}, float64(i)/n, t0)), t0)
			continue
		}
		begin := t0.Add(-time.Duration(place(it.ID()) * float64(days) * 2 / 3 * 24 * float64(time.Hour)))
		it = renewed(t, it, begin, days)
		p.Set(it, t0)
	}
	hours := map[int]int{}
	worst := time.Duration(1 << 62)
	drain(p, t0, t0.AddDate(0, 0, 30), func(it Item, now time.Time) Item {
		if it.State == Parked {
			return must(t)(it.Fail(Failure{Class: Recoverable, Stage: StagePreflight}, 0.5, now))
		}
		hours[int(now.Sub(t0)/time.Hour)]++
		worst = min(worst, it.Cert.NotAfter.Sub(now))
		return renewed(t, it, now, days)
	})
	if worst < 10*24*time.Hour {
		t.Errorf("a certificate was renewed %s before its end", worst)
	}
	total, peak := 0, 0
	for _, c := range hours {
		total += c
		peak = max(peak, c)
	}
	if mean := float64(total) / (30 * 24); float64(peak) > 2*mean {
		t.Errorf("the peak hour has %d renewals, the mean is %.0f, want at most twice that", peak, mean)
	}
}

// renewed is an item with a new certificate and the window that a CA suggests
// for it.
func renewed(tb testing.TB, it Item, now time.Time, days int) Item {
	tb.Helper()
	it.State, it.Changed = Ordering, now
	o := order()
	it.Order = &o
	o.Begun = now
	c := Cert{CA: "le", NotBefore: whole(now), NotAfter: whole(now).AddDate(0, 0, days)}
	middle := c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) * 2 / 3)
	w, ok := Suggest(middle.Add(-24*time.Hour), middle.Add(24*time.Hour), nil, 0, place(it.ID()), now)
	if !ok {
		tb.Fatal("Suggest() refuses the window")
	}
	c.Window = &w
	it.Order = nil
	it.State, it.Next, it.Cert = Issued, RenewBy(it.ID(), c, now), &c
	return it
}

func BenchmarkTick(b *testing.B) {
	p := NewPlanner(NewLedger(LetsEncrypt, nil))
	for i := range 100000 {
		p.Set(renewed(b, numbered(b, i), t0.Add(time.Duration(i)*time.Minute/2), 45), t0)
	}
	now := t0.AddDate(0, 0, 20)
	b.ResetTimer()
	for range b.N {
		now = now.Add(time.Minute)
		it, _, ok := p.Next(now)
		if ok {
			p.Set(renewed(b, it, now, 45), now)
		}
	}
}
