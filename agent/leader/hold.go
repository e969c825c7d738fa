package leader

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/consul"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Why a lead ended while Consul and ctx were fine.
var (
	errTaken    = errors.New("the lock was taken away")
	errReturned = errors.New("the leader's work ended")
)

// releaseTimeout bounds giving the lock up.
const releaseTimeout = 1500 * time.Millisecond

// hold leads until the lease or the lock is lost, lead returns or ctx ends,
// and gives the lock up. The error says why it ended; it is nil if ctx ended.
func (c *candidate) hold(ctx context.Context, session *consul.Session, lead func(context.Context, string) error) error {
	c.log.Info("leading", "node", c.cfg.Node, "session", session.ID())
	leadCtx, cancel := context.WithCancelCause(ctx)
	var parts sync.WaitGroup
	parts.Go(func() { cancel(session.KeepLease(leadCtx)) })
	parts.Go(func() { c.guard(leadCtx, session.ID(), cancel) })
	err := lead(fleet.WithLease(leadCtx, session.Lasts), session.ID())
	cancel(consul.Also(errReturned, err))
	parts.Wait()
	cause := context.Cause(leadCtx)
	c.log.Info("no longer leading", "node", c.cfg.Node, "session", session.ID(), "reason", cause)
	err = consul.Also(c.release(ctx, session.ID()), session.Destroy(ctx))
	if ctx.Err() != nil {
		if err != nil {
			c.log.Warn("leader lock not released", "err", err)
		}
		return nil
	}
	return consul.Also(cause, err)
}

// guard ends the lead when the lock is no longer the session's: sooner than
// the next renewal, and also if only the key was removed.
func (c *candidate) guard(ctx context.Context, session string, lost context.CancelCauseFunc) {
	read := func(q *api.QueryOptions) (*api.QueryMeta, error) {
		holder, meta, err := c.holder(q)
		if err == nil && holder != session {
			lost(errTaken)
		}
		return meta, err
	}
	// Without contact the lease decides.
	c.pace.Watch(ctx, read, func(error) {})
}

// release gives the lock up without the lock delay that ending the session
// would bring, even if ctx has ended.
func (c *candidate) release(ctx context.Context, session string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	pair := &api.KVPair{Key: c.cfg.Key, Value: []byte(c.cfg.Node), Session: session}
	if _, _, err := c.cfg.Client.KV().Release(pair, new(api.WriteOptions).WithContext(ctx)); err != nil {
		return fmt.Errorf("release %s: %w", c.cfg.Key, err)
	}
	return nil
}
