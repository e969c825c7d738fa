package main

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

func TestEveryContestantObtainsAll(t *testing.T) {
	t.Parallel()
	o := options{certs: 6, tlsfleet: "../../../bin/tlsfleet"}
	for _, who := range []string{legoName, certmagicName, tlsfleetName} {
		var f figure
		if status := lab.Main("issue", func(ctx context.Context, p *lab.Program) (err error) {
			f, err = measure(ctx, p, o, figure{who: who, parallel: 3})
			return err
		}); status != 0 {
			t.Fatalf("measure(%s) ends with %d, want 0", who, status)
		}
		if len(f.took) != o.certs || f.rate() <= 0 || f.at(99) < f.at(50) || f.at(50) == 0 {
			t.Errorf("measure(%s) = %s, want %d certificates", who, f, o.certs)
		}
	}
}

// TestAStuckCABeginsAnew freezes the first CA once it has made an order.
func TestAStuckCABeginsAnew(t *testing.T) {
	t.Parallel()
	o := options{certs: 6, tlsfleet: "../../../bin/tlsfleet"}
	for _, who := range []string{legoName, certmagicName, tlsfleetName} {
		scenes, obtained := 0, 0
		if status := lab.Main("issue", func(ctx context.Context, p *lab.Program) error {
			return staged(ctx, p, o, 3, 0, func(ctx context.Context, s *scene) error {
				if scenes++; scenes > 1 {
					err := contestants[who](ctx, s)
					obtained = len(s.took)
					return err
				}
				frozen := make(chan error, 1)
				go func() {
					err := lab.Until(ctx, time.Minute, look, func() error {
						if s.ca.Counts(s.p).Orders == 0 {
							return errors.New("no order is placed")
						}
						return nil
					})
					frozen <- errors.Join(err, syscall.Kill(s.ca.PID, syscall.SIGSTOP))
				}()
				err := contestants[who](ctx, s)
				if freezeErr := <-frozen; freezeErr != nil || err == nil {
					t.Errorf("%s with a frozen CA = %v, want an error (freeze: %v)", who, err, freezeErr)
				}
				return err
			})
		}); status != 0 || scenes < 2 || obtained != o.certs { // Pebble may lock itself out
			t.Errorf("%s obtains %d certificates in scene %d and ends with %d, want %d in a later one and 0", who, obtained, scenes, status, o.certs)
		}
	}
}

func TestSlowContestantsObtainFewer(t *testing.T) {
	t.Parallel()
	o := options{certs: 256, parallel: []int{1, 8, 32}}
	for parallel, want := range map[int][3]int{1: {6, 32, 256}, 8: {48, 256, 256}, 32: {192, 256, 256}} {
		got := [3]int{o.most(legoName, parallel), o.most(certmagicName, parallel), o.most(tlsfleetName, parallel)}
		if got != want {
			t.Errorf("most() with %d in parallel = %v, want %v", parallel, got, want)
		}
	}
	if got := o.rejected(); got != 8 {
		t.Errorf("rejected() = %d, want 8", got)
	}
	if got := (options{parallel: []int{1, 4}}).rejected(); got != 4 {
		t.Errorf("rejected() without 8 = %d, want 4", got)
	}
}

func TestJudgeNamesWhatIsNotAsExpected(t *testing.T) {
	t.Parallel()
	of := func(who string, reject int, all time.Duration) figure {
		return figure{who: who, parallel: 8, reject: reject, certs: 100, all: all}
	}
	tests := map[string]struct {
		lego, tlsfleet, reject time.Duration
		ok                     bool
	}{
		"as expected":     {30 * time.Second, 10 * time.Second, 12 * time.Second, true},
		"too slow":        {30 * time.Second, 11 * time.Second, 12 * time.Second, false},
		"slow by refusal": {30 * time.Second, 10 * time.Second, 13 * time.Second, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := judge([]figure{of(legoName, 0, tt.lego), of(tlsfleetName, 0, tt.tlsfleet), of(tlsfleetName, 5, tt.reject)})
			if (err == nil) != tt.ok || err != nil && !errors.Is(err, errSlow) {
				t.Errorf("judge() = %v, want as expected: %v", err, tt.ok)
			}
		})
	}
}

func TestJudgeWantsEachOnce(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		made testkit.PebbleCounts
		ok   bool
	}{
		"each once":       {testkit.PebbleCounts{Accounts: 1, Orders: 4, Certificates: 4}, true},
		"an order twice":  {testkit.PebbleCounts{Accounts: 1, Orders: 5, Certificates: 4}, false},
		"a second key":    {testkit.PebbleCounts{Accounts: 2, Orders: 4, Certificates: 4}, false},
		"one is not made": {testkit.PebbleCounts{Accounts: 1, Orders: 4, Certificates: 3}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := (tally{names: 4, PebbleCounts: tt.made}).judge(); (err == nil) != tt.ok {
				t.Errorf("judge() of %+v = %v, want each once: %v", tt.made, err, tt.ok)
			}
		})
	}
}
