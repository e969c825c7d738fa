package web

import (
	"context"
	"sync"
	"time"
)

// A value costs its source at most one part in costShare of the time, however
// many ask for it. A read that takes longer than readTime has failed.
const (
	costShare = 20
	readTime  = 8 * time.Second
)

// cached is a value that is read by one at a time, and again only when somebody
// wants it and it is older than least.
type cached[T any] struct {
	read  func(ctx context.Context) (T, error)
	least time.Duration

	mu     sync.Mutex
	flight chan struct{} // closed when the read under way ends; nil: none is
	value  T
	err    error // of the last read
	ended  time.Time
	took   time.Duration
}

// begin has an old value read again. It waits for nothing; the channel is closed
// when the read ends, nil if none is under way.
func (c *cached[T]) begin(ctx context.Context) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flight == nil && (c.ended.IsZero() || time.Since(c.ended) >= max(c.least, costShare*c.took)) {
		c.flight = make(chan struct{})
		go c.refresh(context.WithoutCancel(ctx)) // others wait for it, too
	}
	return c.flight
}

// get is the value, and why it could not be read again.
func (c *cached[T]) get(ctx context.Context) (T, error) {
	if flight := c.begin(ctx); flight != nil {
		select {
		case <-flight:
		case <-ctx.Done():
			var none T
			return none, ctx.Err()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.value, c.err
}

func (c *cached[T]) refresh(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	begin := time.Now()
	v, err := c.read(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.value = v
	}
	c.err, c.ended, c.took = err, time.Now(), time.Since(begin)
	close(c.flight)
	c.flight = nil
}
