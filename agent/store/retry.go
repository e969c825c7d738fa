package store

import (
	"context"
	"errors"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/consul"
)

// How often a change is tried again on a fresh read after somebody else was
// first, and the pauses in between.
const (
	conflictTries    = 20
	conflictMinRetry = 10 * time.Millisecond
	conflictMaxRetry = 500 * time.Millisecond
)

// retry repeats change for as long as it meets ErrConflict, a bounded number of
// times.
func retry(ctx context.Context, change func() error) error {
	pause := consul.BackOff(conflictMinRetry, conflictMaxRetry)
	for tries := 1; ; tries++ {
		err := change()
		if !errors.Is(err, ErrConflict) || tries == conflictTries || ctx.Err() != nil {
			return err
		}
		consul.Pause(ctx, pause.NextBackOff())
	}
}
