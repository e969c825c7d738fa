package consul

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/hashicorp/consul/api"
	"golang.org/x/time/rate"
)

// Pace says how fast a watch may ask.
type Pace struct {
	Wait     time.Duration // longest a query blocks; Consul adds up to a sixteenth
	Grace    time.Duration // how much later than that the answer may come
	MinRetry time.Duration // first pause after an error
	MaxRetry time.Duration // longest pause after an error
	Every    time.Duration // answers closer than this, in the long run, are slowed down
	Burst    int           // answers in a row that are not
	Rest     time.Duration // after an answer that may be news, so that nobody asks while what it brings is fetched
}

// DefaultPace suits watches of single keys and small lists.
func DefaultPace() Pace {
	return Pace{
		Wait: 5 * time.Minute, Grace: 10 * time.Second,
		MinRetry: 250 * time.Millisecond, MaxRetry: 10 * time.Second,
		Every: 500 * time.Millisecond, Burst: 6,
	}
}

// Watch calls read with the options of one blocking query after the other
// until ctx ends. read returns the query's metadata, or an error if there was
// no usable answer: failed is then called, and the next query, which does not
// block, follows after a growing, jittered pause. An answer is no proof of a
// change. The index starts over when it did not grow, and an index of 0 is
// treated like an error that is not reported (Consul documentation, "Blocking
// Queries").
func (p Pace) Watch(ctx context.Context, read func(*api.QueryOptions) (*api.QueryMeta, error), failed func(error)) {
	retry := p.backOff()
	limit := rate.NewLimiter(rate.Every(p.Every), p.Burst)
	var index uint64
	for ctx.Err() == nil {
		Pause(ctx, limit.Reserve().Delay())
		meta, err := p.query(ctx, index, read)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			failed(err)
		}
		if err != nil || meta.LastIndex == 0 {
			index = 0
			Pause(ctx, retry.NextBackOff())
			continue
		}
		retry.Reset()
		if index = following(index, meta.LastIndex); index != 0 {
			Pause(ctx, p.Rest)
		}
	}
}

func (p Pace) query(ctx context.Context, index uint64, read func(*api.QueryOptions) (*api.QueryMeta, error)) (*api.QueryMeta, error) {
	ctx, cancel := context.WithTimeout(ctx, p.Wait+p.Wait/16+p.Grace)
	defer cancel()
	q := api.QueryOptions{WaitIndex: index, WaitTime: p.Wait}
	return read(q.WithContext(ctx))
}

func (p Pace) backOff() *backoff.ExponentialBackOff { return BackOff(p.MinRetry, p.MaxRetry) }

// BackOff returns pauses that double from first up to longest, each taken at
// random between half and one and a half of that.
func BackOff(first, longest time.Duration) *backoff.ExponentialBackOff {
	b := &backoff.ExponentialBackOff{
		InitialInterval: first, MaxInterval: longest,
		Multiplier: 2, RandomizationFactor: 0.5,
	}
	b.Reset()
	return b
}

// Pause waits for d, or less if ctx ends.
func Pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// following is the index to wait for after an answer with index got. An index
// that did not grow proves nothing, and waiting for more could last: a snapshot
// restore first ends the query with the old answer and then has an older index,
// and an empty answer during an election has the index of the full one. So the
// next query does not block.
func following(asked, got uint64) uint64 {
	if got <= asked {
		return 0
	}
	return got
}
