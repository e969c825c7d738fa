package issuance

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// published is a CA that counts as its documentation says: a token bucket that
// begins full and refills evenly.
type published struct {
	limit  Limit
	tokens float64
	last   time.Time
}

func (p *published) takes(now time.Time) bool {
	if p.last.IsZero() {
		p.tokens, p.last = float64(p.limit.Count), now
	}
	p.tokens = min(float64(p.limit.Count), p.tokens+float64(now.Sub(p.last))/float64(p.limit.step()))
	p.last = now
	if p.tokens < 1-1e-6 {
		return false
	}
	p.tokens--
	return true
}

func TestTheCANeverHasToRefuse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := Limit{rapid.IntRange(1, 50).Draw(t, "count"), time.Duration(rapid.IntRange(1, 500).Draw(t, "minutes")) * time.Minute}
		l := NewLedger(Limits{Orders: limit}, nil)
		ca := &published{limit: limit}
		it := Item{Names: []string{"a.test"}}
		now := t0
		for range 200 {
			now = now.Add(time.Duration(rapid.IntRange(0, 600).Draw(t, "seconds")) * time.Second)
			if l.AnyRoom(now).After(now) {
				now = l.AnyRoom(now)
			}
			if !ca.takes(now) {
				t.Fatalf("the CA refuses at %s with %v", now.Sub(t0), limit)
			}
			l.Take(it, now)
			l = NewLedger(l.Limits, l.Used(now)) // as a new leader has it
		}
	})
}

func TestRoomIsThatOfTheScarcest(t *testing.T) {
	a, b := item(t, "a.example.com"), item(t, "b.example.com")
	tests := map[string]struct {
		limits Limits
		use    func(*Ledger)
		room   time.Duration // for a
		other  time.Duration // for b, of the same registered domain
		any    time.Duration
	}{
		"nothing used": {LetsEncrypt, func(*Ledger) {}, 0, 0, 0},
		"no limits":    {Limits{}, func(l *Ledger) { take(l, a, 1000) }, 0, 0, 0},
		"exact set":    {Limits{Set: Limit{5, 5 * time.Hour}}, func(l *Ledger) { take(l, a, 5) }, time.Hour, 0, 0},
		"domain":       {Limits{Domain: Limit{5, 5 * time.Hour}}, func(l *Ledger) { take(l, a, 5) }, time.Hour, time.Hour, 0},
		"all orders":   {Limits{Orders: Limit{5, 5 * time.Hour}}, func(l *Ledger) { take(l, a, 5) }, 0, 0, time.Hour},
		"failures": {Limits{Failures: Limit{2, 2 * time.Hour}}, func(l *Ledger) {
			l.TakeFailure("a.example.com", t0)
			l.TakeFailure("a.example.com", t0)
		}, time.Hour, 0, 0},
		"returned": {Limits{Orders: Limit{1, time.Hour}, Set: Limit{1, time.Hour}}, func(l *Ledger) { take(l, a, 1); l.Return(a) }, 0, 0, 0},
		"held":     {LetsEncrypt, func(l *Ledger) { l.Hold(time.Hour, t0); l.Hold(0, t0) }, 0, 0, time.Hour},
		"same count as failures": {Limits{Set: Limit{1, time.Hour}, Failures: Limit{1, time.Hour}}, func(l *Ledger) { take(l, a, 1) },
			time.Hour, 0, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := NewLedger(tt.limits, nil)
			tt.use(l)
			got := [3]time.Duration{l.Room(a, t0).Sub(t0), l.Room(b, t0).Sub(t0), l.AnyRoom(t0).Sub(t0)}
			if want := [3]time.Duration{tt.room, tt.other, tt.any}; got != want {
				t.Errorf("room for a, b and any = %v, want %v", got, want)
			}
		})
	}
}

func take(l *Ledger, it Item, n int) {
	for range n {
		l.Take(it, t0)
	}
}

func TestUsedForgetsWhatIsFullAgain(t *testing.T) {
	l := NewLedger(LetsEncrypt, nil)
	take(l, item(t, "a.test"), 3)
	if used := UsedNow(l.Used(t0), t0); len(used) != 3 {
		t.Errorf("Used() has %d buckets, want 3", len(used))
	}
	if used := UsedNow(l.Used(t0.AddDate(0, 0, 8)), t0); len(used) != 0 {
		t.Errorf("Used() a week later = %v, want nothing", used)
	}
}

func TestLedgerTellsWhatIsLeft(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	l := NewLedger(Limits{Orders: Limit{10, 10 * time.Hour}}, nil)
	if left, held := l.Left(now); left != 10 || !held.IsZero() {
		t.Errorf("Left() = %v, %v, want 10 and not held", left, held)
	}
	for range 4 {
		l.Take(Item{Names: []string{"a.test"}}, now)
	}
	if left, _ := l.Left(now.Add(30 * time.Minute)); left != 6.5 {
		t.Errorf("Left() = %v half an hour after four orders, want 6.5", left)
	}
	l.Hold(time.Minute, now)
	if _, held := l.Left(now); !held.Equal(now.Add(time.Minute)) {
		t.Errorf("Left() is held until %v, want in a minute", held)
	}
	if left, _ := NewLedger(Limits{}, nil).Left(now); left >= 0 {
		t.Errorf("Left() = %v without a limit, want a negative number", left)
	}
}
