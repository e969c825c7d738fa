package store

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

// KeepReport publishes the newest report from reports for as long as ctx
// lasts, bound to a Consul session of its own with this TTL (at least Consul's
// session_ttl_min, 10 s): the report is gone within two TTLs after the agent
// is. A lost session, and a report that somebody removed or spoiled, are made
// good, at the latest when contact comes back. published is told how each try
// to write ended: nil, ErrNameTaken if another host reports under this name,
// or whatever else keeps it from being written. When ctx ends the report is
// removed. It returns nil then, and an error before only if it cannot begin.
func (s *Store) KeepReport(ctx context.Context, node string, ttl time.Duration, reports <-chan fleet.Report, published func(error)) error {
	if err := fleet.CheckName(node); err != nil {
		return fmt.Errorf("keep report: node: %w", err)
	}
	k := &reportKeeper{store: s, node: node, ttl: ttl, reports: reports, published: published, edge: s.edge("report not published", "report published again")}
	select {
	case r, open := <-reports:
		if !open {
			return errors.New("keep report: there is none")
		}
		k.newest = r
	case <-ctx.Done():
		return nil
	}
	retry := consul.BackOff(s.pace.MinRetry, s.pace.MaxRetry)
	for ctx.Err() == nil {
		start := time.Now()
		if err := k.hold(ctx); err != nil && ctx.Err() == nil {
			k.edge.bad(err)
		}
		if time.Since(start) > ttl {
			retry.Reset()
		}
		consul.Pause(ctx, retry.NextBackOff())
	}
	return nil
}

// reportKeeper publishes one node's report.
type reportKeeper struct {
	store   *Store
	node    string
	ttl     time.Duration
	reports <-chan fleet.Report
	newest  fleet.Report
	edge    *edge

	published func(error)
}

// hold publishes under one session, until that is lost or ctx ends.
func (k *reportKeeper) hold(ctx context.Context) error {
	session, err := consul.OpenSession(ctx, k.store.client, consul.SessionOptions{
		Name: "tlsfleet " + k.store.fleet + " report " + k.node, TTL: k.ttl, Behavior: api.SessionBehaviorDelete,
	})
	if err != nil {
		return denied(err)
	}
	err = k.serve(ctx, session)
	return consul.Also(err, session.Destroy(ctx))
}

func (k *reportKeeper) serve(ctx context.Context, session *consul.Session) error {
	ctx, cancel := context.WithCancelCause(ctx)
	touched := make(chan struct{}, 1)
	var parts sync.WaitGroup
	parts.Go(func() { cancel(session.Keep(ctx)) })
	parts.Go(func() { k.watch(ctx, session.ID(), touched) })
	cancel(k.publish(ctx, session.ID(), touched))
	parts.Wait()
	return lossOf(ctx)
}

// lossOf is why the session was lost; nil if the caller ended it.
func lossOf(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// publish writes the newest report, and again whenever there is a newer one or
// the key was touched, until ctx ends or the session is gone.
func (k *reportKeeper) publish(ctx context.Context, session string, touched <-chan struct{}) error {
	retry := consul.BackOff(k.store.pace.MinRetry, k.store.pace.MaxRetry)
	for {
		var again <-chan time.Time
		err := k.write(ctx, session)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, consul.ErrLost):
			return err
		case err != nil:
			k.published(err)
			k.edge.bad(err)
			again = time.After(retry.NextBackOff())
		default:
			k.published(nil)
			k.edge.good()
			retry.Reset()
		}
		select {
		case r, open := <-k.reports:
			k.take(r, open)
		case <-touched:
		case <-again:
		case <-ctx.Done():
			return nil
		}
	}
}

// take makes r the newest report; a closed channel brings none any more.
func (k *reportKeeper) take(r fleet.Report, open bool) {
	if !open {
		k.reports = nil
		return
	}
	k.newest = r
}

// watch tells touched when somebody removed or spoiled the report.
func (k *reportKeeper) watch(ctx context.Context, session string, touched chan<- struct{}) {
	path := reportsPath + k.node
	read := func(q *api.QueryOptions) (*api.QueryMeta, error) {
		pair, meta, err := k.store.get(path, q)
		if err != nil {
			return nil, err
		}
		if pair != nil && pair.Session == session {
			if _, err := k.store.openReport(pair); err == nil {
				return meta, nil
			}
		}
		select {
		case touched <- struct{}{}:
		default:
		}
		return meta, nil
	}
	// publish meets the same errors, and logs them.
	k.store.pace.Watch(ctx, read, func(error) {})
}
