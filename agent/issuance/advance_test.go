package issuance

import (
	"errors"
	"reflect"
	"testing"
	"time"
)

func TestAnItemIsObtainedAndRenewed(t *testing.T) {
	it := item(t, "a.test")
	if !it.Due(t0) || it.State != Wanted {
		t.Errorf("New() is %s, due %v, want wanted and due", it.State, it.Due(t0))
	}
	it = must(t)(it.Begin(t0))
	it = must(t)(it.Place(order(), t0))
	it = must(t)(it.Placed("https://ca.test/order/1", t0))
	if it.State != Ordering || it.Order.URL == "" || !it.Due(t0) {
		t.Errorf("Placed() = %+v, want an order under way", it)
	}
	renew := t0.AddDate(0, 0, 60)
	it = must(t)(it.Finish(certificate(90), renew, t0))
	if it.State != Issued || it.Order != nil || it.Due(renew.Add(-time.Second)) || !it.Due(renew) {
		t.Errorf("Finish() = %+v, want issued and due at %s", it, renew)
	}
	it = must(t)(it.Begin(renew))
	if it.State != Preflight || it.Cert == nil {
		t.Errorf("Begin() of a renewal = %+v, want a preflight with the certificate kept", it)
	}
}

func TestFailDecidesByClass(t *testing.T) {
	fail := func(class Class, after time.Duration) Failure {
		return Failure{Class: class, Stage: StageValidate, CA: "le", Status: 403, RetryAfter: after}
	}
	tests := map[string]struct {
		before  int // failures so far
		failure Failure
		state   State
		wait    time.Duration
		count   int
	}{
		"first":                   {0, fail(Recoverable, 0), Waiting, time.Minute, 1},
		"second":                  {1, fail(Recoverable, 0), Waiting, 10 * time.Minute, 2},
		"third":                   {2, fail(Recoverable, 0), Waiting, 100 * time.Minute, 3},
		"fourth":                  {3, fail(Recoverable, 0), Waiting, 24 * time.Hour, 4},
		"last before hope ends":   {Hope - 2, fail(Recoverable, 0), Waiting, 24 * time.Hour, Hope - 1},
		"hope ends":               {Hope - 1, fail(Recoverable, 0), Parked, parkedLook, Hope},
		"asked to wait":           {0, fail(Recoverable, time.Hour), Waiting, time.Hour, 1},
		"asked for a year":        {0, fail(Recoverable, 8760*time.Hour), Waiting, mostWait, 1},
		"limited":                 {0, fail(RateLimited, 3*time.Hour), Waiting, 3 * time.Hour, 0},
		"limited, no time":        {2, fail(RateLimited, 0), Waiting, rateWait, 2},
		"limited, absurd":         {0, fail(RateLimited, time.Nanosecond), Waiting, leastWait, 0},
		"down":                    {0, fail(CADown, 0), Waiting, downWait, 0},
		"down never parks":        {Hope - 1, fail(CADown, 0), Waiting, downWait, Hope - 1},
		"hopeless":                {0, fail(Hopeless, 0), Parked, parkedLook, 1},
		"negative, from a header": {0, fail(RateLimited, -time.Hour), Waiting, rateWait, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			it := ordering(t, "a.test")
			it.Failed.Count = tt.before
			if tt.before > 0 {
				it.Failed.Last = &Failure{Class: Recoverable, Stage: StageOrder, At: t0}
			}
			got, err := it.Fail(tt.failure, 0, t0)
			if err != nil {
				t.Fatal(err)
			}
			if got.State != tt.state || got.Failed.Count != tt.count {
				t.Errorf("Fail() = %s after %d failures, want %s after %d", got.State, got.Failed.Count, tt.state, tt.count)
			}
			if wait := got.Next.Sub(t0); wait < tt.wait || wait > tt.wait+time.Second {
				t.Errorf("Fail() waits %s, want %s", wait, tt.wait)
			}
			late, err := it.Fail(tt.failure, 0.999, t0)
			if err != nil {
				t.Fatal(err)
			}
			if wait := late.Next.Sub(t0); wait < tt.wait || wait > tt.wait*11/10+time.Second {
				t.Errorf("Fail() with jitter waits %s, want %s and at most a tenth more", wait, tt.wait)
			}
		})
	}
}

func TestFailKeepsAnOrderThatTheCAMayHave(t *testing.T) {
	placed := must(t)(ordering(t, "a.test").Placed("https://ca.test/order/1", t0))
	away := must(t)(placed.Fail(Failure{Class: CADown, Stage: StageFinalize, CA: "le"}, 0, t0))
	if away.Order == nil || away.Order.URL == "" {
		t.Errorf("Fail() with the CA down = %+v, want the order kept", away)
	}
	if on := must(t)(away.Begin(away.Next)); on.State != Ordering || on.Order.URL != placed.Order.URL {
		t.Errorf("Begin() = %+v, want the same order to go on", on)
	}
	for name, it := range map[string]Item{
		"perhaps placed":        must(t)(ordering(t, "a.test").Fail(Failure{Class: CADown, Stage: StageOrder, CA: "le"}, 0, t0)),
		"limited while awaited": must(t)(placed.Fail(Failure{Class: RateLimited, Stage: StageFinalize, CA: "le"}, 0, t0)),
	} {
		if it.Order == nil {
			t.Errorf("Fail() of an order that is %s drops it", name)
		}
		if on := must(t)(it.Begin(it.Next)); on.State != Ordering || on.Counted() {
			t.Errorf("Begin() of an order that is %s = %s, counted %v, want it to go on uncounted", name, on.State, on.Counted())
		}
	}
	for name, it := range map[string]Item{
		"invalid":        must(t)(placed.Fail(Failure{Class: Recoverable, Stage: StageValidate, CA: "le"}, 0, t0)),
		"refused":        must(t)(ordering(t, "a.test").Fail(Failure{Class: CADown, Stage: StageOrder, CA: "le", Over: true}, 0, t0)),
		"over with a CA": must(t)(placed.Fail(Failure{Class: CADown, Stage: StageValidate, CA: "le", Over: true}, 0, t0)),
		"over, limited":  must(t)(placed.Fail(Failure{Class: RateLimited, Stage: StageOrder, CA: "le", Over: true}, 0, t0)),
	} {
		if it.Order != nil {
			t.Errorf("Fail() of an order that is %s keeps it", name)
		}
		if on := must(t)(it.Begin(it.Next)); on.State != Preflight {
			t.Errorf("Begin() after an order that is %s = %s, want a preflight", name, on.State)
		}
	}
}

func TestAParkedItemComesBack(t *testing.T) {
	it := must(t)(ordering(t, "a.test").Fail(Failure{Class: Hopeless, Stage: StageOrder, CA: "le", Type: "rejectedIdentifier"}, 0, t0))
	again := must(t)(it.Fail(Failure{Class: Recoverable, Stage: StagePreflight}, 0, it.Next))
	if again.State != Parked || !again.Next.After(it.Next) {
		t.Errorf("Fail() of a parked item's preflight = %s, next %s, want parked and later", again.State, again.Next)
	}
	back := must(t)(again.Retry(t0))
	if back.State != Wanted || back.Failed.Count != 0 || !back.Due(t0) {
		t.Errorf("Retry() = %+v, want it wanted without failures", back)
	}
}

// TestWhyAnItemWasParkedIsKept: it is forgotten when an operator acts, and when it
// was issued.
func TestWhyAnItemWasParkedIsKept(t *testing.T) {
	refused := Failure{Class: Hopeless, Stage: StageOrder, CA: "le", Type: "rejectedIdentifier", Detail: "one"}
	parked := must(t)(ordering(t, "a.test").Fail(refused, 0, t0))
	why := parked.Failed.Parked
	if why == "" {
		t.Fatal("Fail() of what is hopeless keeps no reason")
	}
	looked := must(t)(parked.Fail(Failure{Class: Recoverable, Stage: StagePreflight}, 0, parked.Next))
	ordered := must(t)(must(t)(must(t)(looked.Reconsider(t0)).Begin(t0)).Place(order(), t0))
	waiting := must(t)(ordered.Fail(Failure{Class: CADown, Stage: StageOrder, CA: "le"}, 0, t0))
	refused.CA, refused.Detail = "other", "two"
	again := must(t)(ordered.Fail(refused, 0, t0))
	other := refused
	other.Type = "caa"
	for name, tt := range map[string]struct {
		it   Item
		kept bool
	}{
		"its preflight fails": {looked, true}, "tried again": {ordered, true}, "waiting": {waiting, true}, "parked again": {again, true},
		"parked for another reason": {must(t)(ordered.Fail(other, 0, t0)), false},
		"an operator retries":       {must(t)(again.Retry(t0)), false},
		"issued":                    {must(t)(ordered.Finish(certificate(90), t0, t0)), false},
	} {
		if got := tt.it.Failed.Parked; (got == why) != tt.kept {
			t.Errorf("%s: it was parked for %q, want it to be %q: %v", name, got, why, tt.kept)
		}
	}
	if _, err := waiting.Reconsider(t0); !errors.Is(err, ErrState) {
		t.Errorf("Reconsider() of one that waits = %v, want %v", err, ErrState)
	}
}

func TestStepsOutOfOrderAreRefused(t *testing.T) {
	waiting := must(t)(ordering(t, "a.test").Fail(Failure{Class: Recoverable, Stage: StageOrder, CA: "le"}, 0, t0))
	done := issued(t, 90, "a.test")
	steps := map[string]func() (Item, error){
		"place without a preflight": func() (Item, error) { return item(t, "a.test").Place(order(), t0) },
		"place twice":               func() (Item, error) { return ordering(t, "a.test").Place(order(), t0) },
		"place without a key": func() (Item, error) {
			return must(t)(item(t, "a.test").Begin(t0)).Place(Order{CA: "le", CSR: []byte("csr")}, t0)
		},
		"note without an order":  func() (Item, error) { return item(t, "a.test").Placed("https://ca.test", t0) },
		"note with a line break": func() (Item, error) { return ordering(t, "a.test").Placed("https://ca.test\n", t0) },
		"finish without order":   func() (Item, error) { return item(t, "a.test").Finish(certificate(90), t0, t0) },
		"begin too early":        func() (Item, error) { return waiting.Begin(t0) },
		"begin before renewal":   func() (Item, error) { return done.Begin(t0) },
		"fail what is issued":    func() (Item, error) { return done.Fail(Failure{Class: CADown, Stage: StageOrder}, 0, t0) },
		"fail without a class":   func() (Item, error) { return ordering(t, "a.test").Fail(Failure{Stage: StageOrder}, 0, t0) },
		"retry what is issued":   func() (Item, error) { return done.Retry(t0) },
		"renewal of the wanted":  func() (Item, error) { return item(t, "a.test").Renew(nil, t0) },
	}
	for name, step := range steps {
		if _, err := step(); !errors.Is(err, ErrState) && !errors.Is(err, ErrItem) {
			t.Errorf("%s: %v, want %v or %v", name, err, ErrState, ErrItem)
		}
	}
}

func TestStepsChangeNoOtherItem(t *testing.T) {
	it := ordering(t, "a.test")
	before := *it.Order
	must(t)(it.Placed("https://ca.test/order/1", t0))
	if !reflect.DeepEqual(*it.Order, before) {
		t.Error("Placed() changed the order of the item before")
	}
}
