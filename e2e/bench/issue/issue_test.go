package main

import (
	"context"
	"errors"
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
