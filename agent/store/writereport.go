package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/consul"
)

const (
	acquireTries = 3                     // to take the key over from a dead agent
	acquirePause = 50 * time.Millisecond // longer than the lock delay of its session
)

// write publishes the newest report under the session. The error wraps
// consul.ErrLost if the session is known to be gone.
func (k *reportKeeper) write(ctx context.Context, session string) error {
	k.drain()
	sealed, err := k.store.sealReport(k.node, session, k.newest)
	if err != nil {
		return err
	}
	pair := &api.KVPair{Key: k.store.key(reportsPath + k.node), Value: sealed, Session: session}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	for range acquireTries {
		ok, _, err := k.store.client.KV().Acquire(pair, new(api.WriteOptions).WithContext(ctx))
		if err != nil {
			return fmt.Errorf("write %s: %w", pair.Key, cmp.Or(k.lost(ctx, session), denied(err)))
		}
		if ok {
			return nil
		}
		if err := k.takeOver(ctx, session); err != nil {
			return fmt.Errorf("write %s: %w", pair.Key, err)
		}
		consul.Pause(ctx, acquirePause)
	}
	return fmt.Errorf("write %s: somebody else holds it", pair.Key)
}

// drain skips reports that a newer one has overtaken.
func (k *reportKeeper) drain() {
	for {
		select {
		case r, open := <-k.reports:
			k.take(r, open)
		default:
			return
		}
	}
}

// takeOver ends the session that holds the key if it was made on the same
// Consul node: it is what an agent that was killed left behind. A holder on
// another node is another agent with this node's name.
func (k *reportKeeper) takeOver(ctx context.Context, session string) error {
	q := new(api.QueryOptions).WithContext(ctx)
	pair, _, err := k.store.get(reportsPath+k.node, q)
	if err != nil {
		return err
	}
	if pair == nil || pair.Session == "" || pair.Session == session {
		return nil
	}
	own, err := k.session(ctx, session)
	if err != nil {
		return err
	}
	holder, err := k.session(ctx, pair.Session)
	switch {
	case errors.Is(err, consul.ErrLost):
		return nil
	case err != nil:
		return err
	case holder.Node != own.Node:
		return fmt.Errorf("%w: its Consul node is %s", ErrNameTaken, holder.Node)
	}
	return consul.DestroySession(ctx, k.store.client, holder.ID)
}

// lost is consul.ErrLost if Consul says that the session is gone; nil if not,
// or if that cannot be known.
func (k *reportKeeper) lost(ctx context.Context, session string) error {
	if _, err := k.session(ctx, session); errors.Is(err, consul.ErrLost) {
		return err
	}
	return nil
}

// session looks a session up; consul.ErrLost if there is none.
func (k *reportKeeper) session(ctx context.Context, id string) (*api.SessionEntry, error) {
	entry, meta, err := k.store.client.Session().Info(id, new(api.QueryOptions).WithContext(ctx))
	if err == nil && entry == nil {
		err = cmp.Or(consul.Vouched(meta), consul.ErrLost)
	}
	if err != nil {
		return nil, fmt.Errorf("look up session %s: %w", id, denied(err))
	}
	return entry, nil
}
