package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

func TestRenewalsAreServedByAllNodes(t *testing.T) {
	t.Parallel()
	var f figure
	if status := lab.Main("renew", func(ctx context.Context, p *lab.Program) (err error) {
		f, err = measure(ctx, p, options{names: 2, renewals: 4, tlsfleet: "../../../bin/tlsfleet"})
		return err
	}); status != 0 {
		t.Fatalf("measure() ends with %d, want 0", status)
	}
	if len(f.answered) != 4 || f.reloads != 0 {
		t.Errorf("measure() = %s, want 4 renewals and no reload", f)
	}
	for i, d := range f.answered {
		if d <= 0 || d > f.asked[i] {
			t.Errorf("renewal %d took %s after the CA's answer and %s after it was asked for", i, d, f.asked[i])
		}
	}
}

func TestJudgeNamesWhatIsNotAsExpected(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		f  figure
		ok bool
	}{
		"as expected": {figure{answered: []time.Duration{time.Second}}, true},
		"slow":        {figure{answered: []time.Duration{1001 * time.Millisecond}}, false},
		"reloaded":    {figure{answered: []time.Duration{time.Second}, reloads: 1}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := tt.f.judge(time.Second); (err == nil) != tt.ok || err != nil && !errors.Is(err, errSlow) {
				t.Errorf("judge() = %v, want as expected: %v", err, tt.ok)
			}
		})
	}
}
