package issuer

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// How an object of a CA's is asked for until it is done: quickly at first,
// because CAs need milliseconds, and less and less often.
const (
	firstPoll = 5 * time.Millisecond
	slowFirst = 2 * time.Second // the first look is not later than this
	slowPoll  = 5 * time.Second
	pollTime  = 10 * time.Minute
)

// pace is how long a CA has lately taken for something. The first look comes
// when it is likely done: one before is for nothing, and is work for the CA that
// delays what it is asked for.
type pace struct {
	mu    sync.Mutex
	usual time.Duration
}

// first is how long to wait before the first look: a little less than usual, so
// that a CA that has become faster is noticed.
func (p *pace) first() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(p.usual*4/5, firstPoll)
}

func (p *pace) took(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.usual += (min(d, slowFirst) - p.usual) / 4
}

// await looks at the object under a URL until it is done, an error, or the end of
// the time. begun is the URL of the request that began it. It looks no sooner
// than the CA says in Retry-After (RFC 8555, section 7.5.1).
func (c *Client) await(ctx context.Context, p *pace, begun, url string, look func() (done bool, err error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, pollTime, fmt.Errorf("not done after %s: %w", pollTime, errAnswer))
	defer cancel()
	began := time.Now()
	told := max(c.pages.later(begun), c.pages.later(url))
	least := told
	wait := p.first()
	for next := max(wait/8, firstPoll); ; wait, next = next, min(next*3/2, slowPoll) {
		if err := pause(ctx, max(wait, least)); err != nil {
			return context.Cause(ctx)
		}
		done, err := look()
		if done && err == nil && told == 0 {
			p.took(time.Since(began))
		}
		if done || err != nil {
			return err
		}
		least = c.pages.later(url)
		told += least
	}
}
