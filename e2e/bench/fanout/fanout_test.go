package main

import (
	"context"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

func TestEveryWatcherGetsEveryChange(t *testing.T) {
	t.Parallel()
	var f figure
	if status := lab.Main("fanout", func(ctx context.Context, p *lab.Program) (err error) {
		f, err = measure(ctx, p, options{watchers: 5, names: 2, rounds: 3, pause: 100 * time.Millisecond})
		return err
	}); status != 0 {
		t.Fatalf("measure() ends with %d, want 0", status)
	}
	if len(f.took) != 15 || f.at(50) == 0 || f.at(99) < f.at(50) {
		t.Errorf("measure() = %s, want 15 times in order", f)
	}
}
