package notify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

// sink notes what it gets, and fails as it is told.
type sink struct {
	mu   sync.Mutex
	got  []string
	at   []time.Time
	fail func(n int) error // of the nth call
	n    int
}

func (s *sink) String() string { return "sink" }

func (s *sink) Send(ctx context.Context, e Event, _ []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	if s.fail != nil {
		if err := s.fail(s.n); err != nil {
			return err
		}
	}
	s.got = append(s.got, e.ID)
	s.at = append(s.at, time.Now())
	return ctx.Err()
}

func (s *sink) ids() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.got, " ")
}

// running is a notifier that runs until the test ends.
func running(t *testing.T, sinks ...Sink) *Notifier {
	t.Helper()
	var receivers []Receiver
	for _, s := range sinks {
		receivers = append(receivers, Receiver{Sink: s})
	}
	return start(t, receivers...)
}

func start(t *testing.T, receivers ...Receiver) *Notifier {
	t.Helper()
	n := New(hclog.NewNullLogger(), receivers...)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run() = %v", err)
		}
	})
	return n
}

func event(id string) Event { return Event{ID: id, Kind: Issued, At: time.Now()} }

func TestEventsComeInOrderAndOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		n := running(t, s)
		for _, id := range []string{"a", "b", "a", "c", "b"} {
			n.Notify(event(id))
		}
		synctest.Wait()
		if got := s.ids(); got != "a b c" {
			t.Errorf("delivered %q, want a b c", got)
		}
	})
}

func TestAReceiverGetsItsKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		n := start(t, Receiver{s, []Kind{Parked, Problem}})
		for _, k := range []Kind{Issued, Parked, Failed, Problem} {
			n.Notify(Event{ID: string(k), Kind: k})
		}
		synctest.Wait()
		if got := s.ids(); got != "certificate.parked node.problem" {
			t.Errorf("delivered %q, want the kinds that were asked for", got)
		}
	})
}

func TestAFailedDeliveryIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{fail: func(n int) error {
			if n < 4 {
				return errors.New("down")
			}
			return nil
		}}
		n := running(t, s)
		began := time.Now()
		n.Notify(event("a"))
		n.Notify(event("b"))
		<-time.After(time.Minute)
		if got := s.ids(); got != "a b" {
			t.Fatalf("delivered %q, want a b", got)
		}
		if took := s.at[0].Sub(began); took < 2*time.Second {
			t.Errorf("delivered after %s and three failures, want pauses between", took)
		}
	})
}

func TestAnEventIsGivenUpAfterADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := true
		s := &sink{fail: func(int) error {
			if down {
				return errors.New("down")
			}
			return nil
		}}
		n := running(t, s)
		n.Notify(event("a"))
		<-time.After(giveUp + time.Hour)
		s.mu.Lock()
		down = false
		s.mu.Unlock()
		n.Notify(event("b"))
		<-time.After(time.Hour)
		if got := s.ids(); got != "b" {
			t.Errorf("delivered %q, want b", got)
		}
	})
}

// TestASlowSinkDelaysNothing has one sink that hangs: neither the caller nor the
// other sink waits, and the queue is bounded.
func TestASlowSinkDelaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		slow, quick := &sink{fail: func(int) error { <-release; return nil }}, &sink{}
		n := running(t, slow, quick)
		began := time.Now()
		const many = maxQueue + 500
		for i := range many {
			n.Notify(event(fmt.Sprint(i)))
			synctest.Wait()
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("Notify() waited %s", took)
		}
		if len(quick.got) != many {
			t.Errorf("the quick sink has %d events, want %d", len(quick.got), many)
		}
		close(release)
		synctest.Wait()
		if got := len(slow.got); got != maxQueue+1 || slow.got[got-1] != fmt.Sprint(many-1) {
			t.Errorf("the slow sink has %d events, the last %s, want %d and the newest", got, slow.got[got-1], maxQueue+1)
		}
	})
}

func TestAnEventTooLargeIsLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		n := running(t, s)
		large := event("a")
		large.Facts = map[string]string{"x": strings.Repeat("x", maxEvent)}
		n.Notify(large)
		n.Notify(event("b"))
		synctest.Wait()
		if got := s.ids(); got != "b" {
			t.Errorf("delivered %q, want b", got)
		}
	})
}

func TestNotifierWantsWhatReceiversTake(t *testing.T) {
	none, some, all := Receiver{Sink: &sink{}, Kinds: []Kind{Issued}}, Receiver{Sink: &sink{}, Kinds: []Kind{Issued, Expiring}}, Receiver{Sink: &sink{}}
	for _, tt := range []struct {
		receivers []Receiver
		want      bool
	}{{nil, false}, {[]Receiver{none}, false}, {[]Receiver{none, some}, true}, {[]Receiver{all}, true}} {
		if got := New(hclog.NewNullLogger(), tt.receivers...).Wants(Expiring); got != tt.want {
			t.Errorf("Wants() with %d receivers = %t, want %t", len(tt.receivers), got, tt.want)
		}
	}
}
