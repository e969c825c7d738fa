package leader

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/consul"
)

// spread is how long a candidate waits at most before it reaches for a free
// lock, so that the others see it taken instead of writing to Consul too.
const spread = 200 * time.Millisecond

// heldBack is the pause after Consul refused a free lock: longer than the lock
// delay of the sessions here.
const heldBack = 100 * time.Millisecond

// requestTimeout bounds requests that do not block on purpose.
const requestTimeout = 5 * time.Second

// campaign waits until the lock is free, reaches for it once, and leads if it
// was won. A nil error means: campaign again at once.
func (c *candidate) campaign(ctx context.Context, lead func(context.Context, string) error) error {
	c.awaitFree(ctx)
	consul.Pause(ctx, rand.N(spread)) //nolint:gosec // spreads load, guards nothing
	if ctx.Err() != nil || !c.free(ctx) {
		return nil
	}
	session, err := consul.OpenSession(ctx, c.cfg.Client, consul.SessionOptions{
		Name: "tlsfleet leader " + c.cfg.Node, TTL: c.cfg.TTL, Behavior: api.SessionBehaviorRelease,
	})
	if err != nil {
		return err
	}
	won, err := c.acquire(ctx, session.ID())
	switch {
	case err != nil:
		return consul.Also(err, session.Destroy(ctx))
	case won:
		return c.hold(ctx, session, lead)
	}
	err = session.Destroy(ctx)
	consul.Pause(ctx, heldBack)
	return err
}

// awaitFree returns when nobody holds the lock, or ctx ends.
func (c *candidate) awaitFree(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failing := false
	read := func(q *api.QueryOptions) (*api.QueryMeta, error) {
		holder, meta, err := c.holder(q)
		if err == nil && holder == "" {
			cancel()
		}
		failing = failing && err != nil
		return meta, err
	}
	c.pace.Watch(ctx, read, func(err error) {
		if !failing {
			c.log.Warn("leader lock not readable", "err", err)
		}
		failing = true
	})
}

// free looks once whether nobody holds the lock.
func (c *candidate) free(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	holder, _, err := c.holder(new(api.QueryOptions).WithContext(ctx))
	return err == nil && holder == ""
}

// holder is the session that holds the lock, "" if none does.
func (c *candidate) holder(q *api.QueryOptions) (string, *api.QueryMeta, error) {
	pair, meta, err := c.cfg.Client.KV().Get(c.cfg.Key, q)
	if err == nil && pair == nil {
		err = consul.Vouched(meta)
	}
	if err != nil {
		return "", nil, fmt.Errorf("read %s: %w", c.cfg.Key, err)
	}
	if pair == nil {
		return "", meta, nil
	}
	return pair.Session, meta, nil
}

func (c *candidate) acquire(ctx context.Context, session string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	pair := &api.KVPair{Key: c.cfg.Key, Value: []byte(c.cfg.Node), Session: session}
	won, _, err := c.cfg.Client.KV().Acquire(pair, new(api.WriteOptions).WithContext(ctx))
	if err != nil {
		return false, fmt.Errorf("acquire %s: %w", c.cfg.Key, err)
	}
	return won, nil
}
